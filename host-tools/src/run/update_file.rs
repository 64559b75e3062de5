//! An update in a file, read without the key that it was signed with.

use std::fmt;

use briquette_engine::blob::{Blob, BlobError};
use briquette_protocol::update::{METADATA_LEN, Metadata, SIGNATURE_LEN};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::terminal;

/// A file that begins as an update does.
#[derive(Debug, Clone, Copy)]
pub struct SignedUpdate<'a> {
    /// What is signed.
    pub metadata: Metadata<'a>,
    /// What follows the signature: the briquette, if the file is whole.
    content: &'a [u8],
}

/// What is wrong with an update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateDamage {
    /// It is too short or too long.
    #[error(
        "the update was cut or continued: its briquette has {found} bytes, {signed} were signed"
    )]
    Length {
        /// Bytes that are there.
        found: u64,
        /// Bytes that were signed.
        signed: u64,
    },
    /// Its briquette is another one.
    #[error("the SHA-256 of the update's briquette is not the signed one: it was damaged")]
    Digest,
    /// Its briquette is damaged, and was when it was signed.
    #[error("the briquette in the update: {0}")]
    Blob(#[from] BlobError),
}

impl<'a> SignedUpdate<'a> {
    /// The update in `file`; `None` if it is something else.
    pub fn decode(file: &'a [u8]) -> Option<Self> {
        let (metadata, rest) = file.split_first_chunk::<METADATA_LEN>()?;
        Some(Self {
            metadata: Metadata::decode(metadata)?,
            content: rest.get(SIGNATURE_LEN..)?,
        })
    }

    /// The briquette in it.
    ///
    /// # Errors
    /// If not all of it is there, or it cannot be opened.
    pub fn blob(&self) -> Result<Blob<'a>, UpdateDamage> {
        let (found, signed) = (self.content.len() as u64, self.metadata.length);
        if found != signed {
            return Err(UpdateDamage::Length { found, signed });
        }
        Ok(Blob::open(self.content)?)
    }

    /// Compares every checksum, the signed one first. Only the holder
    /// of the public key can tell whether the signature is right.
    ///
    /// # Errors
    /// If the update is not what was signed.
    pub fn verify(&self) -> Result<(), UpdateDamage> {
        if Sha256::digest(self.content)[..] != self.metadata.sha256 {
            return Err(self.blob().err().unwrap_or(UpdateDamage::Digest));
        }
        Ok(self.blob()?.verify()?)
    }
}

impl SignedUpdate<'_> {
    /// What is signed, besides the briquette, for `--json` reports.
    pub fn to_json(&self) -> Value {
        let metadata = &self.metadata;
        json!({
            "version": metadata.version,
            "target": (!metadata.target.is_empty()).then_some(metadata.target),
            "format": metadata.format,
            "arena_bytes": metadata.arena_bytes,
            "sha256": terminal::hex(&metadata.sha256),
        })
    }
}

impl fmt::Display for SignedUpdate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match self.metadata.target {
            "" => "any target",
            target => target,
        };
        write!(f, "version {} for {target}", self.metadata.version)
    }
}
