//! Plain text to continue.

use std::path::PathBuf;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerBuilder, TokenizerImpl,
};

use super::folder::Companions;
use super::sequence::Sequence;

const BEGIN: &str = "<|bos|>";
const END: &str = "<|eos|>";

/// Texts in tokens, one after the other.
#[derive(Debug)]
pub struct TextCorpus {
    tokenizer: Value,
    vocab_size: usize,
    tokens: Vec<u32>,
    window: usize,
}

/// Why a corpus could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextCorpusError {
    /// A text cannot be read as UTF-8.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tokenizer could not be trained.
    #[error("training the tokenizer: {0}")]
    Tokenizer(String),
    /// There is less text than one training sequence.
    #[error("the texts have {tokens} tokens, fewer than one window of {window}")]
    Short {
        /// Tokens of all texts.
        tokens: usize,
        /// Tokens of a training sequence.
        window: usize,
    },
}

impl From<tokenizers::Error> for TextCorpusError {
    fn from(error: tokenizers::Error) -> Self {
        Self::Tokenizer(error.to_string())
    }
}

impl TextCorpus {
    /// Reads `files` and trains a byte-level tokenizer on them.
    ///
    /// # Errors
    /// If a file cannot be read, or they are too short.
    pub fn open(
        files: &[PathBuf],
        vocab_size: usize,
        window: usize,
    ) -> Result<Self, TextCorpusError> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| TextCorpusError::Io {
                path: path.clone(),
                source,
            })
        };
        let texts = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let tokenizer = train_tokenizer(&texts, vocab_size)?;
        let mut tokens = Vec::new();
        for text in &texts {
            tokens.push(0);
            let encoding = tokenizer.encode_fast(text.as_str(), false)?;
            tokens.extend_from_slice(encoding.get_ids());
            tokens.push(1);
        }
        if tokens.len() <= window {
            let tokens = tokens.len();
            return Err(TextCorpusError::Short { tokens, window });
        }
        Ok(Self {
            vocab_size: tokenizer.get_vocab_size(true),
            tokenizer: document(&tokenizer)?,
            tokens,
            window,
        })
    }

    /// Size of the tokenizer's vocabulary.
    pub const fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub(super) fn companions(&self) -> Companions {
        Companions {
            tokenizer: self.tokenizer.clone(),
            chat_template: None,
            special: [(0, BEGIN), (1, END)],
        }
    }

    /// A stretch of text from a random place.
    pub(super) fn window(&self, rng: &mut Xoshiro256PlusPlus) -> Sequence {
        let start = rng.random_range(0..self.tokens.len() - self.window);
        Sequence {
            tokens: self.tokens[start..=start + self.window].to_vec(),
            prompt: 1,
            policy: None,
        }
    }
}

type BpeBuilder = TokenizerBuilder<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;
type BpeTokenizer = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// Learns byte-level BPE of `vocab_size` tokens, the two special ones first.
fn train_tokenizer(texts: &[String], vocab_size: usize) -> Result<BpeTokenizer, TextCorpusError> {
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer = BpeBuilder::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(byte_level.into()))
        .with_decoder(Some(byte_level.into()))
        .build()?;
    let special = |name: &str| AddedToken::from(name, true);
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![special(BEGIN), special(END)])
        .build();
    let lines = texts.iter().flat_map(|text| text.split_inclusive('\n'));
    tokenizer.train(&mut trainer, lines)?;
    Ok(tokenizer)
}

/// The content of `tokenizer.json`: every text begins with [`BEGIN`].
fn document(tokenizer: &BpeTokenizer) -> Result<Value, TextCorpusError> {
    let mut document = serde_json::to_value(tokenizer)
        .map_err(|error| TextCorpusError::Tokenizer(error.to_string()))?;
    document["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": BEGIN, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {BEGIN: {"id": BEGIN, "ids": [0], "tokens": [BEGIN]}},
    });
    Ok(document)
}
