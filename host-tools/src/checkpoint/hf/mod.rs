//! Hugging Face checkpoints: a folder with `config.json`, safetensors weights
//! and a tokenizer.
//!
//! Supported are DeepSeek-V2 and V3 (also Moonlight), Llama, Mistral, Mixtral,
//! Qwen2, Qwen3 and Qwen3-MoE, in F32, F16, BF16 and FP8 with block scales.
//! Options that change the result are honoured or refused by name. Both
//! spellings of configurations load: those of published files and those that
//! transformers 5 writes.
//!
//! ```no_run
//! # fn main() -> Result<(), briquette::checkpoint::ImportError> {
//! use std::path::Path;
//!
//! let mut checkpoint = briquette::checkpoint::hf::open(Path::new("DeepSeek-V2-Lite"))?;
//! checkpoint.weights_mut().check()?;
//! println!("{}", checkpoint.model().architecture);
//! # Ok(())
//! # }
//! ```

mod architecture;
mod blocks;
mod deepseek;
mod dtypes;
mod files;
mod grouped;
mod header;
mod keys;
mod leftovers;
mod llama;
mod mixtral;
mod names;
mod other_tokenizer;
mod quantization;
mod qwen;
mod rope_settings;
mod sanity;
mod settings;
mod shards;
mod store;
mod tokens;
mod tying;
mod unindexed;
mod wrappers;

#[cfg(test)]
mod tests;

pub use names::Names;
pub use store::SafetensorsStore;

use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{ImportError, Model, Weights, locate};
use architecture::Architecture;
use files::{MAX_CONFIG_BYTES, MAX_TOKENIZER_BYTES};
use keys::Keys;
use settings::Description;
use tokens::GENERATION_CONFIG;

const CONFIG: &str = "config.json";

/// An opened checkpoint: the model, its weights and what belongs to its
/// tokenizer.
pub struct HuggingFace {
    folder: PathBuf,
    weights: Weights,
    config: Value,
    generation_config: Option<Value>,
    tokenizer_config: Option<Value>,
    special_tokens_map: Option<Value>,
    chat_template: Option<String>,
    eos_token_ids: Vec<u32>,
}

/// Opens the checkpoint in `folder`. Reads the configuration and the headers of
/// the weights' files; of the weights only a head that may repeat the embedding.
///
/// # Errors
/// If the folder has no readable `config.json` or weights, something in it is
/// broken, or the model needs what is not supported.
pub fn open(folder: &Path) -> Result<HuggingFace, ImportError> {
    let path = folder.join(CONFIG);
    if !path.is_file() {
        return Err(locate::no_config(folder));
    }
    let config = files::json(&path, MAX_CONFIG_BYTES)?;
    let keys = Keys::new(&path, &config)?;
    let architecture = Architecture::detect(keys)?;
    let block_size = quantization::block_size(keys)?;
    let mut description = architecture.read(keys)?;
    let mut store = SafetensorsStore::open(folder, block_size)?;
    let embedding = tying::settle(&mut description.config, &mut store)?;
    let is_mixtral = architecture == Architecture::Mixtral;
    let names = Names::new(
        description.config,
        description.adjacent_rope_pairs,
        embedding,
        is_mixtral,
        |name| store.contains(name),
    );
    let mut model = model(folder, keys, architecture, description)?;
    // Configurations still mention it where files were published without.
    let joins = names::joins(model.config.num_hidden_layers);
    model.mtp = model.mtp.filter(|_| store.contains(&joins));
    let optional = |name: &str| files::optional_json(&folder.join(name), MAX_CONFIG_BYTES);
    let tokenizer_config = optional("tokenizer_config.json")?;
    let template = folder.join("chat_template.jinja");
    let chat_template = match files::optional_text(&template, MAX_CONFIG_BYTES)? {
        Some(template) => Some(template),
        None => tokenizer_config.as_ref().and_then(tokens::chat_template),
    };
    let generation_config = optional(GENERATION_CONFIG)?;
    let vocab_size = model.config.vocab_size;
    Ok(HuggingFace {
        folder: folder.to_owned(),
        eos_token_ids: tokens::ends(folder, generation_config.as_ref(), &config, vocab_size)?,
        weights: Weights::new(model, Box::new(store), Box::new(names)),
        generation_config,
        tokenizer_config,
        special_tokens_map: optional("special_tokens_map.json")?,
        chat_template,
        config,
    })
}

impl HuggingFace {
    /// What the model is.
    pub const fn model(&self) -> &Model {
        self.weights.model()
    }

    /// The model's weights in canonical form.
    pub const fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// Gives up everything but the weights.
    pub fn into_weights(self) -> Weights {
        self.weights
    }

    /// The content of `config.json`.
    pub const fn config(&self) -> &Value {
        &self.config
    }

    /// The content of `tokenizer.json`; `None` if the folder has no tokenizer at
    /// all.
    ///
    /// # Errors
    /// If the file is unreadable, no JSON, or longer than any vocabulary, or the
    /// folder has a tokenizer in another form only.
    pub fn tokenizer_json(&self) -> Result<Option<Vec<u8>>, ImportError> {
        let path = self.folder.join("tokenizer.json");
        if !files::is_there(&path) {
            return other_tokenizer::refuse(&self.folder).map(|()| None);
        }
        let json = files::strict_json(&path, MAX_TOKENIZER_BYTES)?;
        files::parse::<IgnoredAny>(&path, &json)?;
        Ok(Some(json))
    }

    /// The content of `tokenizer_config.json`.
    pub const fn tokenizer_config(&self) -> Option<&Value> {
        self.tokenizer_config.as_ref()
    }

    /// The content of `generation_config.json`.
    pub const fn generation_config(&self) -> Option<&Value> {
        self.generation_config.as_ref()
    }

    /// The chat template: `chat_template.jinja`, or else what
    /// `tokenizer_config.json` has (of several, the one called `default`).
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The tokens that end an answer, each once: those of
    /// `generation_config.json`, or of `config.json` where it names none.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.eos_token_ids
    }

    /// The text of a special token of the tokenizer, such as `bos_token`.
    pub fn special_token(&self, key: &str) -> Option<&str> {
        let map = self.special_tokens_map.as_ref();
        tokens::special_token(self.tokenizer_config(), map, key)
    }

    /// Whether the tokenizer's configuration asks for the begin-of-text token
    /// before every text.
    pub fn adds_bos_token(&self) -> bool {
        self.tokenizer_config()
            .is_some_and(|config| config["add_bos_token"] == true)
    }
}

fn model(
    folder: &Path,
    keys: Keys<'_>,
    architecture: Architecture,
    description: Description,
) -> Result<Model, ImportError> {
    let stated = keys.text("_name_or_path")?.and_then(last_component);
    Ok(Model {
        architecture: architecture.name().to_owned(),
        name: stated
            .or_else(|| locate::cached_name(folder))
            .or_else(|| last_component(folder)),
        config: description.config,
        layers: description.layers,
        mtp: description.mtp,
        rope_inverse_frequencies: description.rope_inverse_frequencies,
    })
}

/// A name without the path that it stands in, which would say something about
/// the machine and not about the model.
fn last_component<P: AsRef<Path> + ?Sized>(path: &P) -> Option<String> {
    let name = path.as_ref().file_name()?.to_str()?;
    Some(name.to_owned())
}
