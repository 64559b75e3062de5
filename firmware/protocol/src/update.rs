//! Updates of a device's model: what is signed, and why one is refused.
//!
//! An update is the same in a file and on the line. All numbers are
//! little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 128 | metadata |
//! | 128 | 64 | Ed25519 signature of the metadata (RFC 8032, section 5.1) |
//! | 192 | `length` | the briquette |
//!
//! The metadata ([`Metadata`]):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `89 42 52 55 50 0d 0a 1a` |
//! | 8 | 2 | version of this layout, 1 |
//! | 10 | 2 | major version of the briquette's format |
//! | 12 | 4 | the model's version |
//! | 16 | 8 | `length`: bytes of the briquette |
//! | 24 | 8 | bytes of arena that it needs |
//! | 32 | 32 | name of the target, UTF-8, filled up with zeros; all zeros: any target |
//! | 64 | 32 | SHA-256 of the briquette |
//! | 96 | 32 | zeros |

use serde::{Deserialize, Serialize};

/// Bytes of [`Metadata`] as they are signed.
pub const METADATA_LEN: usize = 128;
/// Bytes of the signature that follows them.
pub const SIGNATURE_LEN: usize = 64;
/// Bytes of a target's name at most.
pub const MAX_TARGET: usize = 32;

/// Bytes of a briquette in one message at most.
pub const MAX_PIECE: usize = 448;

const MAGIC: [u8; 8] = *b"\x89BRUP\r\n\x1a";
const LAYOUT_VERSION: u16 = 1;

/// What a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Major version of the briquette's format.
    pub format: u16,
    /// The model's version: a device goes to no lower one.
    pub version: u32,
    /// Bytes of the briquette.
    pub length: u64,
    /// Bytes of arena that it needs.
    pub arena_bytes: u64,
    /// The only target that it is meant for; empty for any.
    pub target: &'a str,
    /// SHA-256 of the briquette.
    pub sha256: [u8; 32],
}

impl<'a> Metadata<'a> {
    /// The bytes to sign; `None` if the target's name is too long or holds a
    /// zero.
    pub fn encode(&self) -> Option<[u8; METADATA_LEN]> {
        if self.target.contains('\0') {
            return None;
        }
        let mut bytes = [0; METADATA_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&LAYOUT_VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.format.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.arena_bytes.to_le_bytes());
        let target = bytes[32..64].get_mut(..self.target.len())?;
        target.copy_from_slice(self.target.as_bytes());
        bytes[64..96].copy_from_slice(&self.sha256);
        Some(bytes)
    }

    /// Reads what [`Metadata::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &'a [u8; METADATA_LEN]) -> Option<Self> {
        let target = bytes[32..64].split(|byte| *byte == 0).next()?;
        let metadata = Self {
            format: u16::from_le_bytes(field(bytes, 10)?),
            version: u32::from_le_bytes(field(bytes, 12)?),
            length: u64::from_le_bytes(field(bytes, 16)?),
            arena_bytes: u64::from_le_bytes(field(bytes, 24)?),
            target: str::from_utf8(target).ok()?,
            sha256: field(bytes, 64)?,
        };
        // One encoding only: anything else is not understood.
        (metadata.encode().as_ref() == Some(bytes)).then_some(metadata)
    }
}

fn field<const N: usize>(bytes: &[u8; METADATA_LEN], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// What a host asks about updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateRequest<'a> {
    /// What runs, and how much room is there?
    Status,
    /// Here comes a model; one that was on its way is given up.
    Begin {
        /// [`METADATA_LEN`] bytes.
        metadata: &'a [u8],
        /// [`SIGNATURE_LEN`] bytes.
        signature: &'a [u8],
    },
    /// The next piece of the briquette.
    Piece {
        /// Where it starts.
        offset: u32,
        /// At most [`MAX_PIECE`] bytes.
        bytes: &'a [u8],
    },
    /// That was all: verify it, and try it at the next start.
    Finish,
    /// Restart.
    Restart,
}

/// What a device says about updates, unless it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateResponse {
    /// What runs.
    Status(UpdateStatus),
    /// It waits for the piece at this offset.
    Waiting(u32),
    /// The model is verified, and will be tried at the next start.
    Verified,
    /// It restarts; it answers nothing more until then.
    Restarting,
}

/// The state of a device's models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Version of the model that runs.
    pub version: u32,
    /// Where it came from.
    pub origin: Origin,
    /// Bytes of the largest briquette that fits.
    pub room: u32,
}

/// Where a running model came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// It is part of the program.
    Factory,
    /// An update, which has not answered yet: if it does not, the next start
    /// falls back to the model before it.
    Trial,
    /// An update that has answered.
    Update,
}

/// Why a device does not take an update, or not this piece of it. The model
/// that was running keeps running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateRefusal {
    /// The device has no room for a second model.
    #[error("this device takes no updates")]
    NoSlots,
    /// The device runs a new model that has not answered yet; there is no
    /// place for a third.
    #[error("the running model is on trial: let it answer a prompt first")]
    OnTrial,
    /// The signature was not made over these metadata with the device's key.
    #[error("the signature is wrong: damaged, or not made with this device's key")]
    Signature,
    /// The metadata are signed, but not in a layout that the device knows.
    #[error("the device does not understand the update's metadata")]
    Metadata,
    /// The briquette's format is another one.
    #[error("the briquette has format version {found}; the device reads versions up to {known}")]
    Format {
        /// The update's.
        found: u16,
        /// The device's.
        known: u16,
    },
    /// It is meant for another target.
    #[error("the update is meant for another target")]
    Target,
    /// It is older than what the device has.
    #[error("the update has version {found}, and the device already has version {newest}")]
    Older {
        /// The update's version.
        found: u32,
        /// The device's.
        newest: u32,
    },
    /// It does not fit the flash.
    #[error("the briquette has {length} bytes; a slot has room for {room}")]
    TooLarge {
        /// Bytes of the briquette.
        length: u64,
        /// Bytes of room in a slot.
        room: u64,
    },
    /// It does not fit the memory.
    #[error("the model needs an arena of {needed} bytes; the device has {available}")]
    Arena {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// A piece came without a beginning.
    #[error("no upload has begun")]
    NotBegun,
    /// A piece is missing, or came twice: go on from `expected`.
    #[error("a piece is missing or came twice; the device waits for byte {expected}")]
    OutOfOrder {
        /// Offset of the piece that must come next.
        expected: u32,
    },
    /// More bytes came than the briquette has.
    #[error("more bytes came than the {length} of the briquette")]
    TooMany {
        /// Bytes of the briquette.
        length: u32,
    },
    /// The upload ended early.
    #[error("the upload ended early: {received} of {length} bytes came")]
    Incomplete {
        /// Bytes that came.
        received: u32,
        /// Bytes of the briquette.
        length: u32,
    },
    /// The flash does not hold what was signed.
    #[error("the briquette's SHA-256 is not the signed one: it was damaged")]
    Digest,
    /// What was signed is not a model that the device can run.
    #[error("the device cannot open the model")]
    Model,
    /// The flash could not be read, written or erased.
    #[error("the device's flash failed")]
    Flash,
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: Metadata<'static> = Metadata {
        format: 1,
        version: 7,
        length: 200_000,
        arena_bytes: 60_000,
        target: "mps2-an500",
        sha256: [0xa5; 32],
    };

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = METADATA.encode().unwrap();
        assert_eq!(bytes[..8], [0x89, 0x42, 0x52, 0x55, 0x50, 0x0d, 0x0a, 0x1a]);
        assert_eq!(bytes[8..16], [1, 0, 1, 0, 7, 0, 0, 0]);
        assert_eq!(bytes[16..24], [0x40, 0x0d, 3, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..32], [0x60, 0xea, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[32..42], b"mps2-an500");
        assert_eq!(bytes[42..64], [0; 22]);
        assert_eq!(bytes[64..96], [0xa5; 32]);
        assert_eq!(bytes[96..], [0; 32]);
        assert_eq!(Metadata::decode(&bytes), Some(METADATA));
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        let named = |target| Metadata { target, ..METADATA }.encode();
        assert!(named("a-name-of-thirty-two-characters-").is_some());
        assert!(named("a-name-of-thirty-three-characters").is_none());
        assert!(named("a\0b").is_none());
    }

    #[test]
    fn other_layouts_are_not_understood() {
        let bytes = METADATA.encode().unwrap();
        // Magic, version, a byte after the target's name, and the zeros.
        for at in (0..10).chain([63]).chain(96..128) {
            let mut other = bytes;
            other[at] ^= 0x20;
            assert_eq!(Metadata::decode(&other), None, "byte {at}");
        }
    }
}
