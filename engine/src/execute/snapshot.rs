//! A session's cache as bytes: a device wakes with its prompt ready.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `89 42 52 51 53 0d 0a 1a` |
//! | 8 | 2 | version |
//! | 10 | 1 | number format of the cache: 0 `f32`, 1 `f16`, 2 `q8`, … |
//! | 11 | 1 | zero |
//! | 12 | 4 | tokens |
//! | 16 | 4 | bytes of a cached row |
//! | 20 | 4 | layers |
//! | 24 | 32 | digest of the briquette: the last 32 bytes of the file |
//! | 56 | 4 | CRC-32 (ISO-HDLC) of bytes 0..56 and of all that follows the header |
//! | 60 | 4 | zeros |
//!
//! Then the token ids, four bytes each, and the rows of the first layer, of the
//! second, and so on. All numbers are little-endian.

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"\x89BRQS\r\n\x1a";

/// Version that this code writes, and the only one that it reads.
pub const VERSION: u16 = 1;

/// Bytes in front of the token ids.
pub const HEADER_LEN: usize = 64;

/// Bytes of the header that its checksum covers.
pub(crate) const CHECKED: usize = 56;

/// Why a snapshot was not made or not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// More tokens than the cache holds.
    #[error("{found} tokens were given, the cache holds {cached}")]
    Tokens {
        /// Tokens given.
        found: usize,
        /// Tokens in the cache.
        cached: usize,
    },
    /// The bytes are something else.
    #[error("not a snapshot of a prompt")]
    BadMagic,
    /// Written by another version.
    #[error("the snapshot has version {found}; this program reads version {known}")]
    Version {
        /// The snapshot's.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// Too few bytes, or too many.
    #[error("the snapshot has {found} bytes, its header promises {expected}")]
    Length {
        /// Bytes handed in.
        found: u64,
        /// Bytes that the header implies.
        expected: u64,
    },
    /// Taken from another briquette.
    #[error("the snapshot belongs to another briquette")]
    OtherModel,
    /// Taken from a cache in another number format.
    #[error("the snapshot holds a cache in another number format")]
    OtherCache,
    /// More tokens than the cache has room for.
    #[error("the snapshot holds {tokens} tokens, the cache has room for {context}")]
    TooLong {
        /// Tokens of the snapshot.
        tokens: u32,
        /// Tokens that fit.
        context: u32,
    },
    /// The cache lies where it cannot be copied from.
    #[error("this executor keeps no snapshots; the one on the processor does")]
    Unsupported,
    /// Some bytes have changed.
    #[error("the snapshot's checksum is wrong: it is damaged")]
    Checksum,
}

/// The token ids of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotTokens<'a>(pub(crate) &'a [[u8; 4]]);

impl<'a> SnapshotTokens<'a> {
    /// The ids, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// A snapshot's shape: what must agree with the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kv: u8,
    pub(crate) tokens: u32,
    pub(crate) row_bytes: u32,
    pub(crate) layers: u32,
    pub(crate) model: [u8; 32],
}

impl Shape {
    /// The header's bytes, without the checksum.
    pub(crate) fn encode(&self) -> [u8; CHECKED] {
        let mut bytes = [0; CHECKED];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.kv;
        bytes[12..16].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.row_bytes.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.layers.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.model);
        bytes
    }

    /// Bytes of the whole snapshot.
    pub(crate) fn len(&self) -> u64 {
        let row = u64::from(self.row_bytes) * u64::from(self.layers);
        HEADER_LEN as u64 + u64::from(self.tokens).saturating_mul(4 + row)
    }
}
