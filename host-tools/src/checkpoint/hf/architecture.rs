//! Which architecture a configuration describes.

use super::keys::Keys;
use super::settings::Description;
use super::{deepseek, llama, mixtral, qwen, sanity};
use crate::checkpoint::ImportError;

/// The architectures that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    DeepseekV2,
    DeepseekV3,
    Llama,
    Mistral,
    Mixtral,
    Qwen2,
    Qwen3,
    Qwen3Moe,
}

impl Architecture {
    const ALL: [Self; 8] = [
        Self::DeepseekV2,
        Self::DeepseekV3,
        Self::Llama,
        Self::Mistral,
        Self::Mixtral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Qwen3Moe,
    ];

    /// Reads `architectures`, or, where that is missing, `model_type`.
    ///
    /// # Errors
    /// If neither is there, or what is there is not supported.
    pub(super) fn detect(keys: Keys<'_>) -> Result<Self, ImportError> {
        let unsupported = |what, found: &str, supported: Vec<&str>| ImportError::Unsupported {
            what,
            found: found.to_owned(),
            supported: supported.join(", "),
        };
        let names = keys.list("architectures")?.unwrap_or_default();
        if let Some(name) = names.first() {
            let name = name
                .as_str()
                .ok_or_else(|| keys.bad("architectures", name, "a list of names"))?;
            let found = Self::ALL.into_iter().find(|known| known.name() == name);
            return found.ok_or_else(|| {
                unsupported("architecture", name, Self::ALL.map(Self::name).to_vec())
            });
        }
        let model_type = keys
            .text("model_type")?
            .ok_or_else(|| keys.missing("architectures"))?;
        let found = Self::ALL
            .into_iter()
            .find(|known| known.model_type() == model_type);
        found.ok_or_else(|| {
            unsupported(
                "model_type",
                model_type,
                Self::ALL.map(Self::model_type).to_vec(),
            )
        })
    }

    /// The name under `architectures`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::DeepseekV2 => "DeepseekV2ForCausalLM",
            Self::DeepseekV3 => "DeepseekV3ForCausalLM",
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Mixtral => "MixtralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Qwen3Moe => "Qwen3MoeForCausalLM",
        }
    }

    /// Reads the rest of the configuration.
    ///
    /// # Errors
    /// If a value is missing, makes no sense, or is not supported.
    pub(super) fn read(self, keys: Keys<'_>) -> Result<Description, ImportError> {
        let description = match self {
            Self::DeepseekV2 => deepseek::deepseek_v2(keys),
            Self::DeepseekV3 => deepseek::deepseek_v3(keys),
            Self::Llama => llama::llama(keys),
            Self::Mistral => llama::mistral(keys),
            Self::Mixtral => mixtral::mixtral(keys),
            Self::Qwen2 => qwen::qwen2(keys),
            Self::Qwen3 => qwen::qwen3(keys),
            Self::Qwen3Moe => qwen::qwen3_moe(keys),
        }?;
        sanity::check(keys, &description)?;
        Ok(description)
    }

    const fn model_type(self) -> &'static str {
        match self {
            Self::DeepseekV2 => "deepseek_v2",
            Self::DeepseekV3 => "deepseek_v3",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Mixtral => "mixtral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3_moe",
        }
    }
}
