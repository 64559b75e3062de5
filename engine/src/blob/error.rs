//! What can be wrong with a briquette.

use super::Role;

/// Why bytes are not a usable briquette.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// Fewer bytes than the header promises.
    #[error("the file ends early: {needed} bytes needed, {got} there")]
    Truncated {
        /// Bytes that the header promises.
        needed: u64,
        /// Bytes there.
        got: u64,
    },
    /// More bytes than the header promises.
    #[error("{extra} bytes follow the end of the briquette")]
    TrailingBytes {
        /// How many.
        extra: u64,
    },
    /// Not a briquette at all.
    #[error("not a briquette: the first eight bytes are not its magic")]
    BadMagic,
    /// Written by a newer (or much older) tool.
    #[error(
        "format version {found} is not supported; this reader knows versions up to {known}: \
             a newer briquette reads it, or pack the model again"
    )]
    Version {
        /// The file's major version.
        found: u16,
        /// The newest that we know.
        known: u16,
    },
    /// A header field makes no sense.
    #[error("header field `{field}` is {found}")]
    Header {
        /// The field.
        field: &'static str,
        /// What was found there.
        found: u64,
    },
    /// The header or the manifest was changed or damaged.
    #[error("manifest checksum is {found:#010x}, expected {expected:#010x}: the file is damaged")]
    ManifestChecksum {
        /// Computed from the bytes.
        found: u32,
        /// Recorded in the header.
        expected: u32,
    },
    /// The manifest is not what postcard can decode.
    #[error("the manifest cannot be decoded")]
    ManifestEncoding,
    /// The manifest uses something that the file's version does not have.
    #[error("the file is of version {found}, but what it holds needs version {needed}")]
    VersionTooLow {
        /// The file's major version.
        found: u16,
        /// The major version that its manifest needs.
        needed: u16,
    },
    /// The manifest is followed by bytes that belong to nothing.
    #[error("{extra} bytes follow the manifest")]
    ManifestTrailing {
        /// How many.
        extra: u64,
    },
    /// A dimension or option of the model makes no sense.
    #[error("configuration: `{field}` is {found}, expected {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// What was found there.
        found: u64,
        /// What would make sense.
        expected: &'static str,
    },
    /// The tensor table is not the one that the configuration asks for.
    #[error("tensor table, entry {index}: `{field}` is wrong (a {role:?} is due there)")]
    Tensor {
        /// The entry.
        index: u32,
        /// The tensor that belongs there.
        role: Role,
        /// What is wrong with the entry.
        field: &'static str,
    },
    /// The tensor table has entries for nothing, or ends early.
    #[error("tensor table has {found} bytes, expected {expected}")]
    TableLength {
        /// Bytes there.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The payload is not as long as its parts.
    #[error("the payload has {found} bytes, its parts have {expected}")]
    PayloadLength {
        /// Bytes there.
        found: u64,
        /// Bytes of all parts.
        expected: u64,
    },
    /// The bytes start at an address that does not suit `f32`.
    #[error("the briquette lies at an address that is not a multiple of {needed}")]
    Misaligned {
        /// The alignment that is needed.
        needed: usize,
    },
    /// Too large for this target's address space.
    #[error("{bytes} bytes do not fit this target's address space")]
    TooLarge {
        /// How many.
        bytes: u64,
    },
    /// The experts were not loaded, so digests of the whole file cannot be
    /// computed.
    #[error("the experts are not in memory: verify the file where it is stored")]
    WithoutExperts,
    /// The payload was changed or damaged (found by [`super::Blob::verify`]).
    #[error("payload checksum mismatch: the file is damaged")]
    PayloadChecksum,
    /// The file's digest does not match (found by [`super::Blob::verify`]).
    #[error("file digest mismatch: header, manifest or trailer is damaged")]
    FileDigest,
}
