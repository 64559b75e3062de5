//! The tokenizer as GGUF metadata describes it.

mod ends;
mod spec;

pub use spec::{check_pre, tokenizer_spec};

use super::metadata::Metadata;
use crate::checkpoint::ImportError;

/// What `tokenizer.ggml.*` says. The ids of padding, unknown, separating and
/// masking tokens are not read: nothing here uses them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GgufTokenizer {
    /// `gpt2` for byte-level BPE, `llama` for SentencePiece, …
    pub model: String,
    /// Which pre-tokenizer, if the file says so.
    pub pre: Option<String>,
    /// Tokens in id order.
    pub tokens: Vec<String>,
    /// One type per token: 1 normal, 2 unknown, 3 control, 4 user-defined,
    /// 5 unused, 6 byte.
    pub token_types: Vec<i32>,
    /// Merges in rank order: `left right`.
    pub merges: Vec<String>,
    /// Begin of text.
    pub bos: Option<u32>,
    /// End of text.
    pub eos: Option<u32>,
    /// End of turn.
    pub eot: Option<u32>,
    /// End of message.
    pub eom: Option<u32>,
    /// Padding in files with gaps to fill.
    pub fim_pad: Option<u32>,
    /// Precedes a repository's name.
    pub fim_rep: Option<u32>,
    /// Separates files.
    pub fim_sep: Option<u32>,
    /// Whether encoding puts `bos` first; absent, the pre-tokenizer decides.
    pub add_bos: Option<bool>,
    /// Whether encoding puts `eos` last.
    pub add_eos: Option<bool>,
    /// The Jinja chat template.
    pub chat_template: Option<String>,
}

impl GgufTokenizer {
    /// `None` if the file has no tokenizer at all.
    pub(super) fn read(metadata: &Metadata) -> Result<Option<Self>, ImportError> {
        let Some(model) = metadata.string("tokenizer.ggml.model")? else {
            return Ok(None);
        };
        if matches!(model, "none" | "no_vocab") {
            return Ok(None);
        }
        let tokens = metadata.strings("tokenizer.ggml.tokens")?;
        let token_types = match metadata.get("tokenizer.ggml.token_type") {
            None => vec![1; tokens.len()],
            Some(_) => metadata.integers("tokenizer.ggml.token_type")?,
        };
        if token_types.len() != tokens.len() {
            let expected = format!("{} entries, one per token", tokens.len());
            return Err(metadata.bad("tokenizer.ggml.token_type", &expected));
        }
        let merges = match metadata.get("tokenizer.ggml.merges") {
            None => Vec::new(),
            Some(_) => metadata.strings("tokenizer.ggml.merges")?,
        };
        let pre = metadata.string("tokenizer.ggml.pre")?;
        let template = metadata.string("tokenizer.chat_template")?;
        let special = |name: &str| {
            let key = format!("tokenizer.ggml.{name}_token_id");
            metadata.token(&key, tokens.len())
        };
        let [bos, eos, eot, eom] = ["bos", "eos", "eot", "eom"].map(special);
        let [fim_pad, fim_rep, fim_sep] = ["fim_pad", "fim_rep", "fim_sep"].map(special);
        Ok(Some(Self {
            model: model.to_owned(),
            pre: pre.map(str::to_owned),
            bos: bos?,
            eos: eos?,
            eot: eot?,
            eom: eom?,
            fim_pad: fim_pad?,
            fim_rep: fim_rep?,
            fim_sep: fim_sep?,
            tokens,
            token_types,
            merges,
            add_bos: metadata.flag("tokenizer.ggml.add_bos_token")?,
            add_eos: metadata.flag("tokenizer.ggml.add_eos_token")?,
            chat_template: template.map(str::to_owned),
        }))
    }
}
