//! The header, the first 64 bytes of a file, and the trailer, the last 64.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `89 42 52 49 51 0d 0a 1a` |
//! | 8 | 2 | major version: the oldest that can hold the file |
//! | 10 | 2 | minor version |
//! | 12 | 4 | bytes of the manifest, which starts at 64 |
//! | 16 | 8 | offset of the payload: the manifest's end, rounded up to 64 |
//! | 24 | 8 | bytes of the payload |
//! | 32 | 4 | CRC-32 (ISO-HDLC) of bytes 0..32 and of the manifest |
//! | 36 | 28 | zeros |
//!
//! The trailer follows the payload, rounded up to 64: SHA-256 of the payload,
//! then SHA-256 of header, manifest and the first digest.

use core::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use super::BlobError;
use crate::digest::CRC;

/// The first eight bytes: not text, and broken by any line-ending conversion.
pub const MAGIC: [u8; 8] = *b"\x89BRIQ\r\n\x1a";

/// The newest major version that this code reads and writes. A file has the
/// oldest that can hold it: see [`super::Manifest::major_version`].
pub const MAJOR_VERSION: u16 = 3;

/// The oldest major version.
const FIRST_MAJOR_VERSION: u16 = 1;

/// The major versions that this code reads.
pub const MAJOR_VERSIONS: RangeInclusive<u16> = FIRST_MAJOR_VERSION..=MAJOR_VERSION;

/// Grows when something is added that older readers may ignore.
pub const MINOR_VERSION: u16 = 0;

/// Bytes of the header.
pub const HEADER_LEN: usize = 64;

/// Bytes of the trailer.
pub const TRAILER_LEN: usize = 64;

/// Payload and tensors start at multiples of this.
pub const ALIGNMENT: u64 = 64;

/// Manifests above this size are refused: no model needs one.
pub const MAX_MANIFEST_LEN: u32 = 64 << 20;

/// `offset` rounded up to a multiple of [`ALIGNMENT`], unless it overflows.
pub const fn align(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGNMENT)
}

/// The header's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Major version.
    pub major: u16,
    /// Bytes of the manifest.
    pub manifest_len: u32,
    /// First byte of the payload.
    pub payload_offset: u64,
    /// Bytes of the payload.
    pub payload_len: u64,
}

impl Header {
    /// The header of a file of the oldest version, with such a manifest and
    /// payload; `None` if sizes overflow.
    pub fn new(manifest_len: u32, payload_len: u64) -> Option<Self> {
        let header = Self {
            major: FIRST_MAJOR_VERSION,
            manifest_len,
            payload_offset: align(HEADER_LEN as u64 + u64::from(manifest_len))?,
            payload_len,
        };
        header.file_len()?;
        Some(header)
    }

    /// The same, of version `major`.
    #[must_use]
    pub const fn with_major(self, major: u16) -> Self {
        Self { major, ..self }
    }

    /// First byte of the trailer.
    pub fn trailer_offset(&self) -> Option<u64> {
        align(self.payload_offset.checked_add(self.payload_len)?)
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> Option<u64> {
        self.trailer_offset()?.checked_add(TRAILER_LEN as u64)
    }

    /// The header's bytes; the checksum covers `manifest` too.
    pub fn encode(&self, manifest: &[u8]) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.major.to_le_bytes());
        bytes[10..12].copy_from_slice(&MINOR_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.manifest_len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.payload_offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.payload_len.to_le_bytes());
        let crc = checksum(&bytes[..32], manifest);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads and checks the header of `file`; returns the manifest's bytes too.
    ///
    /// # Errors
    /// If anything but the manifest's content or the payload is wrong.
    pub fn decode(file: &[u8]) -> Result<(Self, &[u8]), BlobError> {
        let header = Self::decode_fields(file)?;
        header.check_length(file.len() as u64)?;
        Ok((header, header.manifest(file)?))
    }

    /// Reads the header's fields from the first bytes of a file.
    ///
    /// # Errors
    /// If they are too few, or a field makes no sense.
    pub fn decode_fields(start: &[u8]) -> Result<Self, BlobError> {
        let Some((header, _)) = start.split_first_chunk::<HEADER_LEN>() else {
            return Err(short_file(start));
        };
        if header[..8] != MAGIC {
            return Err(BlobError::BadMagic);
        }
        let u32_at = |at: usize| u32_at(header, at);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let major = u16::from_le_bytes([header[8], header[9]]);
        if !MAJOR_VERSIONS.contains(&major) {
            return Err(BlobError::Version {
                found: major,
                known: MAJOR_VERSION,
            });
        }
        let manifest_len = u32_at(12);
        if manifest_len > MAX_MANIFEST_LEN {
            return Err(bad_field("manifest_len", u64::from(manifest_len)));
        }
        let payload_len = u64_at(24);
        let expected =
            Self::new(manifest_len, payload_len).ok_or(bad_field("payload_len", payload_len))?;
        let expected = expected.with_major(major);
        if u64_at(16) != expected.payload_offset {
            return Err(bad_field("payload_offset", u64_at(16)));
        }
        if header[36..].iter().any(|byte| *byte != 0) {
            return Err(bad_field("reserved", 1));
        }
        Ok(expected)
    }

    /// Checks that `got` bytes are exactly the whole file.
    ///
    /// # Errors
    /// If they are fewer or more.
    pub(crate) fn check_length(&self, got: u64) -> Result<(), BlobError> {
        let needed = self.file_len().unwrap_or(u64::MAX);
        if got < needed {
            return Err(BlobError::Truncated { needed, got });
        }
        if got > needed {
            return Err(BlobError::TrailingBytes {
                extra: got - needed,
            });
        }
        Ok(())
    }

    /// The manifest's bytes, from those of a file up to the payload at least.
    ///
    /// # Errors
    /// If they do not have the checksum that the file records.
    pub fn manifest<'f>(&self, file: &'f [u8]) -> Result<&'f [u8], BlobError> {
        let Some((header, rest)) = file.split_first_chunk::<HEADER_LEN>() else {
            return Err(short_file(file));
        };
        let manifest = rest.get(..self.manifest_len as usize).unwrap_or_default();
        let found = checksum(&header[..32], manifest);
        let expected = u32_at(header, 32);
        if found != expected {
            return Err(BlobError::ManifestChecksum { found, expected });
        }
        Ok(manifest)
    }
}

const fn u32_at(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// The trailer of a file, from its header, manifest and the payload's SHA-256.
pub fn trailer(header: &[u8; HEADER_LEN], manifest: &[u8], payload: [u8; 32]) -> [u8; TRAILER_LEN] {
    let digest = Sha256::new()
        .chain_update(header)
        .chain_update(manifest)
        .chain_update(payload)
        .finalize();
    let mut bytes = [0; TRAILER_LEN];
    bytes[..32].copy_from_slice(&payload);
    bytes[32..].copy_from_slice(&digest);
    bytes
}

fn checksum(header: &[u8], manifest: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(header);
    digest.update(manifest);
    digest.finalize()
}

const fn bad_field(field: &'static str, found: u64) -> BlobError {
    BlobError::Header { field, found }
}

/// A file shorter than a header: say "not a briquette" if even the start differs.
fn short_file(file: &[u8]) -> BlobError {
    let shared = file.len().min(MAGIC.len());
    if file[..shared] != MAGIC[..shared] {
        return BlobError::BadMagic;
    }
    BlobError::Truncated {
        needed: (HEADER_LEN + TRAILER_LEN) as u64,
        got: file.len() as u64,
    }
}
