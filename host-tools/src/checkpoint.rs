//! A checkpoint of any known kind, ready to be pressed.

use std::path::Path;

use serde_json::Value;

use crate::chat::ChatTemplate;
use crate::import::gguf::Gguf;
use crate::import::hf::{self, HuggingFace};
use crate::import::{ImportError, Weights};
use crate::pack::Source;
use crate::tokenizer::{self, TokenizerImportError, TokenizerSpec};

/// Why a checkpoint was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Its model.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Its tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerImportError),
}

/// Opens the Hugging Face folder or the GGUF file at `path`.
///
/// # Errors
/// If it is neither, or its model or tokenizer is not supported.
pub fn open(path: &Path) -> Result<Source, CheckpointError> {
    open_with(path, true)
}

/// As [`open`], leaving the tokenizer out: the briquette works on token ids.
///
/// # Errors
/// As [`open`], but for the tokenizer.
pub fn open_without_tokenizer(path: &Path) -> Result<Source, CheckpointError> {
    open_with(path, false)
}

fn open_with(path: &Path, tokenizer: bool) -> Result<Source, CheckpointError> {
    if path.is_dir() {
        open_folder(path, tokenizer)
    } else {
        open_gguf(path, tokenizer)
    }
}

fn open_folder(path: &Path, with_tokenizer: bool) -> Result<Source, CheckpointError> {
    let folder = hf::open(path)?;
    let vocab_size = folder.model().config.vocab_size;
    let name = folder.model().name.clone();
    let mut stop_tokens = folder.eos_token_ids();
    let tokenizer = if !with_tokenizer {
        None
    } else if path.join("tokenizer.json").is_file() {
        let mut spec = tokenizer::from_json(&folder.tokenizer_json()?)?;
        let config = folder.tokenizer_config();
        spec.bos = folder
            .bos_token_id()
            .or_else(|| named(config, "bos_token", &spec));
        spec.eos = named(config, "eos_token", &spec).or_else(|| stop_tokens.first().copied());
        spec.check(vocab_size)?;
        Some(spec)
    } else {
        tracing::warn!("no tokenizer.json: the briquette will work on token ids only");
        None
    };
    if let Some(eos) = tokenizer.as_ref().and_then(|spec| spec.eos)
        && !stop_tokens.contains(&eos)
    {
        stop_tokens.push(eos);
    }
    let template = folder.chat_template().filter(|_| with_tokenizer);
    let template = chat_template(template, tokenizer.as_ref());
    Ok(source(
        name.unwrap_or_else(|| file_name(path)),
        HuggingFace::into_weights(folder),
        tokenizer,
        stop_tokens,
        template,
    ))
}

fn open_gguf(path: &Path, with_tokenizer: bool) -> Result<Source, CheckpointError> {
    let mut file = Gguf::open(path)?;
    let model = file.model()?;
    let mapping = file.mapping(&model);
    let metadata = if with_tokenizer {
        file.tokenizer()?
    } else {
        None
    };
    let tokenizer = match &metadata {
        None if !with_tokenizer => None,
        None => {
            tracing::warn!("no tokenizer: the briquette will work on token ids only");
            None
        }
        Some(metadata) => {
            let spec = tokenizer::from_gguf(metadata)?;
            spec.check(model.config.vocab_size)?;
            Some(spec)
        }
    };
    let template = metadata.and_then(|metadata| metadata.chat_template);
    let template = chat_template(template.as_deref(), tokenizer.as_ref());
    let stop_tokens = tokenizer
        .as_ref()
        .map_or_else(Vec::new, |spec| spec.stops.clone());
    Ok(source(
        model.name.clone().unwrap_or_else(|| file_name(path)),
        Weights::new(model, Box::new(file), Box::new(mapping)),
        tokenizer,
        stop_tokens,
        template,
    ))
}

fn source(
    name: String,
    weights: Weights,
    tokenizer: Option<TokenizerSpec>,
    stop_tokens: Vec<u32>,
    template: Option<ChatTemplate>,
) -> Source {
    Source {
        name,
        weights,
        tokenizer: tokenizer
            .as_ref()
            .map_or_else(Vec::new, tokenizer::to_section),
        stop_tokens,
        single_turn: template.as_ref().and_then(ChatTemplate::single_turn),
        chat_template: template.map_or_else(String::new, |template| template.source),
    }
}

/// A template with the tokens that it may name.
fn chat_template(source: Option<&str>, spec: Option<&TokenizerSpec>) -> Option<ChatTemplate> {
    let name = |id: Option<u32>| {
        let bytes = id.and_then(|id| spec?.tokens.get(id as usize));
        bytes.map_or_else(String::new, |bytes| {
            String::from_utf8_lossy(bytes).into_owned()
        })
    };
    Some(ChatTemplate {
        source: source?.to_owned(),
        bos_token: name(spec.and_then(|spec| spec.bos)),
        eos_token: name(spec.and_then(|spec| spec.eos)),
    })
}

/// The id of a token that `tokenizer_config.json` names, as text or as an
/// object with `content`.
fn named(config: Option<&Value>, key: &str, spec: &TokenizerSpec) -> Option<u32> {
    let value = config?.get(key)?;
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    let token = spec
        .tokens
        .iter()
        .position(|token| token == text.as_bytes())?;
    u32::try_from(token).ok()
}

fn file_name(path: &Path) -> String {
    let name = path.canonicalize().ok();
    let name = name.as_deref().unwrap_or(path).file_stem();
    name.map_or_else(
        || "model".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}
