//! Signed updates of a device's model.
//!
//! `briquette_protocol::update` describes what is signed; here it is made and
//! read. Keys are Ed25519, in the PEM files that OpenSSL writes as well.

mod keys;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use briquette_engine::blob::{Blob, Header};
use briquette_engine::{EngineError, Plan, PlanOptions, Session, logits_digest};
use briquette_protocol::update::{MAX_TARGET, METADATA_LEN, Metadata, SIGNATURE_LEN};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

use crate::run::{Arena, BriqFile, LoadError};
use crate::support::files;

pub use keys::{generate, read_secret};

/// Why an update could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The model cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model cannot be planned.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Keys are never overwritten.
    #[error("{} exists already; a key is never overwritten", path.display())]
    KeyExists {
        /// The file.
        path: PathBuf,
    },
    /// A key's file holds something else.
    #[error(
        "{}: not a secret Ed25519 key in PEM (PKCS #8); make one with: briquette device keygen",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The file is neither.
    #[error(
        "{}: not a signed update; sign a briquette with --key, or with briquette device sign",
        path.display()
    )]
    NoUpdate {
        /// The file.
        path: PathBuf,
    },
    /// The target's name does not fit.
    #[error("the target's name has more than {MAX_TARGET} bytes")]
    TargetName,
}

/// A signed briquette.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// What is signed.
    pub metadata: [u8; METADATA_LEN],
    /// The signature.
    pub signature: [u8; SIGNATURE_LEN],
    /// The briquette.
    pub blob: Vec<u8>,
}

impl Update {
    /// Signs the briquette at `path` for `target` (any, if it is empty) as
    /// `version`.
    ///
    /// # Errors
    /// If it is not a sound briquette, or the target's name is too long.
    pub fn sign(
        path: &Path,
        key: &SigningKey,
        target: &str,
        version: u32,
    ) -> Result<Self, UpdateError> {
        let file = BriqFile::open(path)?;
        let blob = file.blob()?;
        blob.verify().map_err(EngineError::from)?;
        let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()))?;
        let metadata = Metadata {
            format: Header::decode_fields(blob.bytes())
                .map_err(EngineError::from)?
                .major,
            version,
            length: blob.bytes().len() as u64,
            arena_bytes: plan.arena_bytes(),
            target,
            sha256: Sha256::digest(blob.bytes()).into(),
        };
        let metadata = metadata.encode().ok_or(UpdateError::TargetName)?;
        Ok(Self {
            signature: key.sign(&metadata).to_bytes(),
            metadata,
            blob: blob.bytes().to_vec(),
        })
    }

    /// Reads what [`Update::write`] has written.
    ///
    /// # Errors
    /// If it cannot be read or is something else. The signature is for the
    /// device to verify.
    pub fn read(path: &Path) -> Result<Self, UpdateError> {
        let bytes = fs::read(path).map_err(|source| UpdateError::Io {
            path: path.to_owned(),
            source,
        })?;
        let parts = bytes.split_first_chunk().and_then(|(metadata, rest)| {
            let (signature, blob) = rest.split_first_chunk()?;
            let length = Metadata::decode(metadata)?.length;
            (length == blob.len() as u64).then(|| Self {
                metadata: *metadata,
                signature: *signature,
                blob: blob.to_vec(),
            })
        });
        parts.ok_or_else(|| UpdateError::NoUpdate {
            path: path.to_owned(),
        })
    }

    /// Writes it as a file.
    ///
    /// # Errors
    /// If it cannot be written; the file is then as it was before.
    pub fn write(&self, path: &Path) -> Result<(), UpdateError> {
        let bytes = [&self.metadata[..], &self.signature, &self.blob].concat();
        files::write_whole(path, &bytes).map_err(|source| UpdateError::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// CRC-32 of the logits after each of `ids`, computed here: a device must
    /// report the same. Ids beyond the context are left out.
    ///
    /// # Errors
    /// If the model cannot be run.
    pub fn digests(&self, ids: &[u32]) -> Result<Vec<u32>, UpdateError> {
        // A briquette has to lie at a multiple of its alignment.
        let mut words = vec![0_u64; self.blob.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..self.blob.len()].copy_from_slice(&self.blob);
        let blob = Blob::open(&bytemuck::cast_slice(&words)[..self.blob.len()]);
        let blob = blob.map_err(EngineError::from)?;
        let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()))?;
        let mut arena = Arena::for_plan(&plan)?;
        let mut session = Session::new(blob, &plan, arena.bytes_mut())?;
        let mut digests = Vec::new();
        for id in ids.iter().take(session.context()) {
            digests.push(logits_digest(session.decode(*id)?));
        }
        Ok(digests)
    }

    /// What is signed.
    pub fn metadata(&self) -> Option<Metadata<'_>> {
        Metadata::decode(&self.metadata)
    }
}
