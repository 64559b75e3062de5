//! What can be wrong with a tokenizer section, or with the buffers given.

/// Why a tokenizer section was refused, or a text could not be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The bytes do not start with the section's magic.
    #[error("these bytes are not a tokenizer section")]
    BadMagic,
    /// The section was written in another version of the format.
    #[error("tokenizer section version {found} is not supported, this engine reads {supported}")]
    Version {
        /// What the section says.
        found: u32,
        /// What this engine reads.
        supported: u32,
    },
    /// The header's counts and the section's length disagree.
    #[error("the tokenizer section is {found} bytes long, its header describes {described}")]
    Length {
        /// Bytes given.
        found: u64,
        /// Bytes that the header's counts add up to.
        described: u64,
    },
    /// A header field makes no sense.
    #[error("tokenizer section: {field} is {value}")]
    BadField {
        /// The field's name in the format description.
        field: &'static str,
        /// What was found there.
        value: u32,
    },
    /// The tokens do not fit in the output buffer.
    #[error("the text has more tokens than the output's {capacity}")]
    OutputFull {
        /// Tokens that the buffer holds.
        capacity: usize,
    },
    /// The scratch is too small for this text.
    #[error("encoding needs {needed} words of scratch, got {got}")]
    NeedsWords {
        /// Words that are enough for this piece of text.
        needed: usize,
        /// Words given.
        got: usize,
    },
    /// A message and the text around it do not fit in the buffer given.
    #[error("a message and what its template puts around it take {needed} bytes, got {got}")]
    NeedsJoined {
        /// Bytes of the whole text.
        needed: usize,
        /// Bytes given.
        got: usize,
    },
    /// The normalised text does not fit in the scratch.
    #[error("normalising needs up to {needed} bytes of scratch, got {got}")]
    NeedsText {
        /// Bytes that are enough for this piece of text.
        needed: usize,
        /// Bytes given.
        got: usize,
    },
}
