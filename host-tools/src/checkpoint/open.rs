//! A checkpoint of any known kind, ready to be packed.

use std::path::{Path, PathBuf};

use briquette_engine::text::{Tokenizer, TokenizerError};

use crate::chat::{ChatTemplate, Clock, TrialError};
use crate::checkpoint::gguf::{self, Gguf, GgufMapping};
use crate::checkpoint::hf::{self, HuggingFace};
use crate::checkpoint::tokenizer::{self, TokenizerImportError, TokenizerSpec};
use crate::checkpoint::{CheckpointPath, ImportError, Weights, locate, prompt_start};

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
    /// The section made of its tokenizer, which cannot be opened.
    #[error("the tokenizer cannot be packed: {0} (`pack --no-tokenizer` leaves it out)")]
    Section(#[from] TokenizerError),
    /// Its chat template.
    #[error(transparent)]
    Template(#[from] TrialError),
    /// A pre-tokenizer was named for a folder, which states how text is split.
    #[error(
        "{}: --pre is for GGUF files; the tokenizer.json of a folder says how text is split",
        path.display()
    )]
    PreOfFolder {
        /// The folder.
        path: PathBuf,
    },
}

/// How a checkpoint is to be opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Leave the tokenizer out, and the chat template with it: the briquette works
    /// on token ids.
    pub without_tokenizer: bool,
    /// Leave the chat template out: prompts are continued as they stand.
    pub without_template: bool,
    /// How text is split before tokens are made, by a name as in GGUF's
    /// `tokenizer.ggml.pre`: for files that do not say it, or say it wrongly.
    pub pre: Option<String>,
}

impl OpenOptions {
    const fn wants_template(&self) -> bool {
        !self.without_tokenizer && !self.without_template
    }
}

/// Everything that goes into a briquette.
pub struct Source {
    /// The weights and what they mean.
    pub weights: Weights,
    /// A name to show people.
    pub name: String,
    /// The tokenizer's section; empty without one.
    pub tokenizer: Vec<u8>,
    /// Tokens that end a generation.
    pub stop_tokens: Vec<u32>,
    /// The Jinja chat template; empty without one.
    pub chat_template: String,
    /// Text before and after a single user message.
    pub single_turn: Option<(String, String)>,
}

/// Opens the Hugging Face folder or the GGUF file at `path`.
///
/// # Errors
/// If it is neither, or its model or tokenizer is not supported.
pub fn open(path: &Path) -> Result<Source, CheckpointError> {
    open_as(path, &OpenOptions::default())
}

/// As [`open`], with options.
///
/// # Errors
/// As [`open`], and if the options do not go with the checkpoint.
pub fn open_as(path: &Path, options: &OpenOptions) -> Result<Source, CheckpointError> {
    match locate(path)? {
        CheckpointPath::Folder(path) if options.pre.is_some() => {
            Err(CheckpointError::PreOfFolder { path })
        }
        CheckpointPath::Folder(path) => open_folder(&path, options),
        CheckpointPath::Gguf(path) => open_gguf(&path, options),
    }
}

fn open_folder(path: &Path, options: &OpenOptions) -> Result<Source, CheckpointError> {
    let folder = hf::open(path)?;
    let vocab_size = folder.model().config.vocab_size;
    let name = folder.model().name.clone();
    let mut stop_tokens = folder.eos_token_ids().to_vec();
    let json = match options.without_tokenizer {
        true => None,
        false => folder.tokenizer_json()?,
    };
    let tokenizer = if options.without_tokenizer {
        None
    } else if let Some(json) = json {
        let spec = folder_tokenizer(&folder, &json, &mut stop_tokens)?;
        spec.check(vocab_size)?;
        Some(spec)
    } else {
        tracing::warn!("no tokenizer.json: the briquette will work on token ids only");
        None
    };
    let template = folder.chat_template().filter(|_| options.wants_template());
    let template = chat_template(template, tokenizer.as_ref());
    source(
        name.unwrap_or_else(|| file_name(path)),
        HuggingFace::into_weights(folder),
        tokenizer,
        stop_tokens,
        template,
    )
}

/// The folder's tokenizer, whose `eos_token` joins the tokens that end an answer.
fn folder_tokenizer(
    folder: &HuggingFace,
    json: &[u8],
    stop_tokens: &mut Vec<u32>,
) -> Result<TokenizerSpec, CheckpointError> {
    let mut spec = tokenizer::from_json(json)?;
    spec.bos = named(folder, "bos_token", &spec);
    spec.eos = named(folder, "eos_token", &spec);
    if folder.adds_bos_token() {
        prompt_start::begin_with_bos(&mut spec);
    }
    if let Some(eos) = spec.eos
        && !stop_tokens.contains(&eos)
    {
        stop_tokens.push(eos);
    }
    // A device ends where its tokenizer says, which has no ids of padding.
    let known = |id: &&u32| (**id as usize) < spec.tokens.len();
    spec.stops = stop_tokens.iter().filter(known).copied().collect();
    Ok(spec)
}

fn open_gguf(path: &Path, options: &OpenOptions) -> Result<Source, CheckpointError> {
    let with_tokenizer = !options.without_tokenizer;
    let mut file = Gguf::open(path)?;
    let model = gguf::model(&mut file)?;
    let mapping = GgufMapping::new(&file, &model);
    let mut metadata = if with_tokenizer {
        file.tokenizer()?
    } else {
        None
    };
    if let (Some(metadata), Some(pre)) = (&mut metadata, &options.pre) {
        let stated = metadata.pre.replace(pre.clone());
        if let Some(stated) = stated.filter(|stated| stated != pre) {
            tracing::warn!(
                "the file says that its text is split as `{stated}`; --pre {pre} counts"
            );
        }
    }
    let tokenizer = match &metadata {
        None if !with_tokenizer => None,
        None => {
            tracing::warn!("no tokenizer: the briquette will work on token ids only");
            None
        }
        Some(metadata) => {
            let spec = gguf::tokenizer_spec(metadata)?;
            spec.check(model.config.vocab_size)?;
            Some(spec)
        }
    };
    let template = metadata.and_then(|metadata| metadata.chat_template);
    let template = template.filter(|_| options.wants_template());
    let mut template = chat_template(template.as_deref(), tokenizer.as_ref());
    if tokenizer
        .as_ref()
        .is_some_and(|spec| !spec.prefix.is_empty())
    {
        template = template.map(prompt_start::with_bos_first);
    }
    let stop_tokens = tokenizer
        .as_ref()
        .map_or_else(Vec::new, |spec| spec.stops.clone());
    source(
        model.name.clone().unwrap_or_else(|| file_name(path)),
        Weights::new(model, Box::new(file), Box::new(mapping)),
        tokenizer,
        stop_tokens,
        template,
    )
}

fn source(
    name: String,
    weights: Weights,
    tokenizer: Option<TokenizerSpec>,
    stop_tokens: Vec<u32>,
    template: Option<ChatTemplate>,
) -> Result<Source, CheckpointError> {
    if let Some(template) = &template {
        for lack in template.try_out()? {
            tracing::warn!("the chat template cannot be used for {lack}");
        }
    }
    let section = tokenizer.as_ref().map(tokenizer::to_section);
    if let Some(section) = &section {
        Tokenizer::new(section)?;
    }
    Ok(Source {
        name,
        weights,
        tokenizer: section.unwrap_or_default(),
        stop_tokens,
        single_turn: template.as_ref().and_then(ChatTemplate::single_turn),
        chat_template: template.map_or_else(String::new, |template| template.source),
    })
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
        clock: Clock::System,
    })
}

/// The id of a special token that the folder names.
fn named(folder: &HuggingFace, key: &str, spec: &TokenizerSpec) -> Option<u32> {
    let text = folder.special_token(key)?;
    let token = spec
        .tokens
        .iter()
        .position(|token| token == text.as_bytes());
    if token.is_none() {
        tracing::warn!("the {key} `{text}` is none of the tokens in tokenizer.json");
    }
    u32::try_from(token?).ok()
}

fn file_name(path: &Path) -> String {
    let name = path.canonicalize().ok();
    let name = name.as_deref().unwrap_or(path).file_stem();
    name.map_or_else(
        || "model".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}
