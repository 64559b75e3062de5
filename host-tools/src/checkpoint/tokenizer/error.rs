//! What can be wrong with a checkpoint's tokenizer.

/// Why a tokenizer was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerImportError {
    /// `tokenizer.json` is not JSON.
    #[error("tokenizer.json is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A field is absent or of the wrong kind.
    #[error("tokenizer: `{field}` is missing or is not {expected}")]
    Field {
        /// The field.
        field: String,
        /// What should be there.
        expected: &'static str,
    },
    /// Something this tool does not know.
    #[error(
        "tokenizer: {what} `{found}` is not supported; supported: {supported} \
         (`pack --no-tokenizer` leaves the tokenizer out)"
    )]
    Unsupported {
        /// What kind of thing.
        what: &'static str,
        /// What the checkpoint has.
        found: String,
        /// What would do.
        supported: &'static str,
    },
    /// A GGUF file without `tokenizer.ggml.pre`.
    #[error(
        "the file does not say how text is split before tokens are made \
         (`tokenizer.ggml.pre` is missing), and it is not guessed: say it with `pack --pre NAME`, \
         as the model's original has it: {known}; or leave the tokenizer out with \
         `pack --no-tokenizer`"
    )]
    NoPreTokenizer {
        /// The names that there are.
        known: &'static str,
    },
    /// A merge names a token that does not exist.
    #[error("tokenizer: merge {rank} needs the token `{token}`, which does not exist")]
    Merge {
        /// Number of the merge.
        rank: usize,
        /// The token.
        token: String,
    },
    /// Two tokens have the same text.
    #[error("tokenizer: tokens {first} and {second} have the same text")]
    Duplicate {
        /// One of them.
        first: u32,
        /// The other.
        second: u32,
    },
    /// An id beyond the model's vocabulary.
    #[error("tokenizer: token id {id} exceeds the model's vocabulary of {vocab_size}")]
    IdTooLarge {
        /// The id.
        id: u64,
        /// Tokens of the model.
        vocab_size: u32,
    },
    /// A special token that does not exist.
    #[error(
        "tokenizer: a special token has the id {id}, but there are {tokens} tokens; correct the \
         post_processor in tokenizer.json (`pack --no-tokenizer` leaves the tokenizer out)"
    )]
    NoSuchToken {
        /// The id.
        id: u32,
        /// How many tokens there are.
        tokens: usize,
    },
    /// A token's text uses characters outside the byte-level alphabet.
    #[error("tokenizer: token {id} (`{text}`) is not written in the byte-level alphabet")]
    NotBytes {
        /// The token.
        id: u32,
        /// Its text.
        text: String,
    },
}

impl TokenizerImportError {
    pub(super) fn field(field: impl Into<String>, expected: &'static str) -> Self {
        Self::Field {
            field: field.into(),
            expected,
        }
    }
}
