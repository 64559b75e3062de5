//! What the metadata says about the model.

use briquette_engine::blob::{Attention, Gqa, LayerKind, Mla, ModelConfig, Moe, Router, Scoring};

use super::metadata::Metadata;
use super::rope::Rope;
use super::store::Gguf;
use crate::checkpoint::{ImportError, Model, Rows, TensorStore};

/// Supported architectures.
const ARCHITECTURES: [&str; 5] = ["llama", "qwen2", "qwen3", "qwen3moe", "deepseek2"];

/// Keys that would change the result in ways that the engine does not compute,
/// and the value that changes nothing.
const NEUTRAL: [(&str, f64); 9] = [
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("logit_scale", 1.0),
    ("embedding_scale", 1.0),
    ("residual_scale", 1.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attention.temperature_scale", 0.0),
    ("rope.scaling.alpha", 0.0),
];

pub(super) fn model(file: &mut Gguf) -> Result<Model, ImportError> {
    let metadata = file.metadata();
    let found = metadata
        .string("general.architecture")?
        .ok_or_else(|| metadata.missing("general.architecture"))?
        .to_owned();
    if !ARCHITECTURES.contains(&found.as_str()) {
        return Err(ImportError::Unsupported {
            what: "GGUF architecture",
            found,
            supported: ARCHITECTURES.join(", "),
        });
    }
    let keys = Keys {
        file,
        architecture: &found,
    };
    keys.refuse_what_is_not_computed()?;
    let is_latent = found == "deepseek2";
    let attention = if is_latent {
        keys.latent_attention()?
    } else {
        keys.grouped_attention()?
    };
    let layers = keys.layers()?;
    let moe = keys.experts(&layers)?;
    let rope = Rope::read(&keys, attention)?;
    let mtp = keys.mtp_layer(&layers);
    let any_dense = layers.iter().any(|kind| !kind.is_moe());
    let config = ModelConfig {
        vocab_size: keys.vocab_size()?,
        hidden_size: keys.size("embedding_length")?,
        num_hidden_layers: layers.len() as u32,
        num_attention_heads: keys.size("attention.head_count")?,
        intermediate_size: if any_dense {
            keys.size("feed_forward_length")?
        } else {
            0
        },
        max_position_embeddings: keys.size("context_length")?,
        rms_norm_eps: keys.eps()?,
        tie_word_embeddings: !file.has("output.weight"),
        mlp_bias: file.has("blk.0.ffn_gate.bias"),
        attention,
        softmax_scale: rope.softmax_scale,
        rope_attention_factor: rope.attention_factor,
        sliding_window: keys.sliding_window()?,
        moe,
    };
    let factors = read_rope_factors(file, rope.inverse_frequencies.len())?;
    let inverse_frequencies = rope.inverse_frequencies.iter().zip(factors);
    Ok(Model {
        name: file.metadata().shown("general.name")?,
        architecture: found,
        config,
        layers,
        mtp,
        rope_inverse_frequencies: inverse_frequencies.map(|(f, factor)| f / factor).collect(),
    })
}

/// Llama 3's divisors of the frequencies, or ones.
fn read_rope_factors(file: &mut Gguf, len: usize) -> Result<Vec<f32>, ImportError> {
    const NAME: &str = "rope_freqs.weight";
    let Some(stored) = file.find(NAME) else {
        return Ok(vec![1.0; len]);
    };
    if stored.shape != [len as u64] {
        return Err(ImportError::Shape {
            tensor: NAME.into(),
            found: stored.shape,
            expected: vec![len as u64],
        });
    }
    let mut rows = Rows::default();
    file.read_rows(NAME, 0..1, &mut rows)?;
    let unusable = |value: &&f32| !value.is_finite() || **value <= 0.0;
    if let Some(value) = rows.values.iter().find(unusable) {
        return Err(ImportError::NotFinite {
            tensor: NAME.into(),
            row: 0,
            column: 0,
            value: *value,
        });
    }
    Ok(rows.values)
}

/// Typed access to one architecture's keys.
pub(super) struct Keys<'a> {
    file: &'a Gguf,
    architecture: &'a str,
}

impl Keys<'_> {
    const fn metadata(&self) -> &Metadata {
        self.file.metadata()
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(super) fn size(&self, name: &str) -> Result<u32, ImportError> {
        self.metadata().size(&self.key(name))
    }

    pub(super) fn count(&self, name: &str) -> Result<u32, ImportError> {
        self.metadata().count(&self.key(name))
    }

    pub(super) fn float_or(&self, name: &str, default: f64) -> Result<f64, ImportError> {
        self.metadata().float_or(&self.key(name), default)
    }

    /// A positive number, or the default where the key is absent.
    pub(super) fn positive_or(&self, name: &str, default: f64) -> Result<f64, ImportError> {
        let value = self.float_or(name, default)?;
        if value > 0.0 {
            return Ok(value);
        }
        Err(self.bad(name, "a positive number"))
    }

    pub(super) fn size_or(&self, name: &str, default: u32) -> Result<u32, ImportError> {
        self.metadata().size_or(&self.key(name), Some(default))
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&str>, ImportError> {
        self.metadata().string(&self.key(name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.metadata().get(&self.key(name)).is_some()
    }

    /// The error for a key whose value makes no sense.
    pub(super) fn bad(&self, name: &str, expected: &str) -> ImportError {
        self.metadata().bad(&self.key(name), expected)
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.file.has(name)
    }

    fn refuse_what_is_not_computed(&self) -> Result<(), ImportError> {
        for (name, neutral) in NEUTRAL {
            let value = self.float_or(name, neutral)?;
            if value != neutral && value != 0.0 {
                return Err(ImportError::Unsupported {
                    what: "GGUF option",
                    found: format!("{} = {value}", self.key(name)),
                    supported: format!("{neutral}, or no such key"),
                });
            }
        }
        Ok(())
    }

    fn vocab_size(&self) -> Result<u32, ImportError> {
        let name = "token_embd.weight";
        let stored = self.file.find(name).ok_or(ImportError::MissingTensor {
            tensor: name.into(),
        })?;
        let rows = stored.shape.first().copied().unwrap_or(0);
        u32::try_from(rows).map_err(|_| ImportError::Shape {
            tensor: name.into(),
            found: stored.shape,
            expected: vec![],
        })
    }

    fn eps(&self) -> Result<f32, ImportError> {
        let name = "attention.layer_norm_rms_epsilon";
        let eps = self.float_or(name, 0.0)? as f32;
        if eps > 0.0 {
            return Ok(eps);
        }
        let key = self.key(name);
        Err(match self.metadata().get(&key) {
            None => self.metadata().missing(&key),
            Some(_) => self.metadata().bad(&key, "a positive number"),
        })
    }

    /// Blocks at the end that predict further tokens are not the model's own.
    fn layers(&self) -> Result<Vec<LayerKind>, ImportError> {
        let blocks = self.size("block_count")?;
        let extra = self.count("nextn_predict_layers")?;
        let count = blocks.saturating_sub(extra);
        if count == 0 || count >= u32::from(u16::MAX) {
            let key = self.key("block_count");
            return Err(self.metadata().bad(&key, "from 1 to 65534 layers"));
        }
        let experts = self.count("expert_count")? > 0;
        let dense = self.count("leading_dense_block_count")?;
        let sliding = self.sliding_window()?.is_some();
        Ok((0..count)
            .map(|layer| {
                let moe = experts && layer >= dense;
                let kind = u8::from(moe) * LayerKind::MOE;
                LayerKind(kind | (u8::from(sliding) * LayerKind::SLIDING))
            })
            .collect())
    }

    /// The block for multi-token prediction that follows the model's own.
    fn mtp_layer(&self, layers: &[LayerKind]) -> Option<LayerKind> {
        let block = format!("blk.{}.", layers.len());
        let experts = self.has_tensor(&format!("{block}ffn_gate_inp.weight"));
        let kind = LayerKind(LayerKind::MTP | (u8::from(experts) * LayerKind::MOE));
        self.has_tensor(&format!("{block}nextn.eh_proj.weight"))
            .then_some(kind)
    }

    /// Only `llama` files (Mistral, Mixtral) carry a window that all layers have.
    fn sliding_window(&self) -> Result<Option<u32>, ImportError> {
        let window = self.count("attention.sliding_window")?;
        if window > 0 && self.architecture != "llama" {
            return Err(ImportError::Unsupported {
                what: "GGUF option",
                found: format!("{} = {window}", self.key("attention.sliding_window")),
                supported: "0, or no such key".into(),
            });
        }
        Ok((window > 0).then_some(window))
    }

    fn grouped_attention(&self) -> Result<Attention, ImportError> {
        let heads = self.size("attention.head_count")?;
        let hidden = self.size("embedding_length")?;
        let default = hidden / heads;
        let metadata = self.metadata();
        let head_dim = metadata.size_or(&self.key("attention.key_length"), Some(default))?;
        let value = metadata.size_or(&self.key("attention.value_length"), Some(head_dim))?;
        if value != head_dim {
            let key = self.key("attention.value_length");
            return Err(metadata.bad(&key, &format!("{head_dim}, the keys' length")));
        }
        let kv_heads = self.key("attention.head_count_kv");
        Ok(Attention::Gqa(Gqa {
            num_key_value_heads: metadata.size_or(&kv_heads, Some(heads))?,
            head_dim,
            // Of these architectures only Qwen 3's norm queries and keys.
            query_key_norm: self.architecture.starts_with("qwen3"),
            qkv_bias: self.has_tensor("blk.0.attn_q.bias"),
            output_bias: self.has_tensor("blk.0.attn_output.bias"),
        }))
    }

    fn latent_attention(&self) -> Result<Attention, ImportError> {
        let metadata = self.metadata();
        let rotated = self.size("rope.dimension_count")?;
        // In the split form `key_length` is the latent's; the heads' own
        // lengths then have keys of their own.
        let own_or = |own: &str, general: &str| match metadata.get(&self.key(own)) {
            Some(_) => self.size(own),
            None => self.size(general),
        };
        let head = own_or("attention.key_length_mla", "attention.key_length")?;
        let Some(nope) = head.checked_sub(rotated).filter(|nope| *nope > 0) else {
            let key = self.key("rope.dimension_count");
            return Err(metadata.bad(&key, &format!("less than the keys' length, {head}")));
        };
        let rank = self.count("attention.q_lora_rank")?;
        Ok(Attention::Mla(Mla {
            q_lora_rank: (rank > 0).then_some(rank),
            kv_lora_rank: self.size("attention.kv_lora_rank")?,
            qk_nope_head_dim: nope,
            qk_rope_head_dim: rotated,
            v_head_dim: own_or("attention.value_length_mla", "attention.value_length")?,
            // GGUF has one epsilon for all norms, and llama.cpp uses it here.
            latent_norm_eps: self.eps()?,
            bias: self.has_tensor("blk.0.attn_kv_a_mqa.bias"),
        }))
    }

    fn experts(&self, layers: &[LayerKind]) -> Result<Option<Moe>, ImportError> {
        let Some(first) = layers.iter().position(|kind| kind.is_moe()) else {
            return Ok(None);
        };
        let width = self.count("expert_feed_forward_length")?;
        let width = if width == 0 {
            self.size("feed_forward_length")?
        } else {
            width
        };
        let shared_size = if self.has_tensor(&format!("blk.{first}.ffn_gate_shexp.weight")) {
            let shared = self.count("expert_shared_count")?.max(1);
            shared.saturating_mul(width)
        } else {
            0
        };
        Ok(Some(Moe {
            num_experts: self.size("expert_count")?,
            top_k: self.size("expert_used_count")?,
            expert_size: width,
            shared_size,
            router: self.router(first)?,
        }))
    }

    fn router(&self, first: usize) -> Result<Router, ImportError> {
        let metadata = self.metadata();
        let is_latent = self.architecture == "deepseek2";
        let has_bias = is_latent && self.has_tensor(&format!("blk.{first}.exp_probs_b.bias"));
        let scoring = match self.count("expert_gating_func")? {
            0 if has_bias => Scoring::SigmoidWithBias,
            0 | 1 => Scoring::Softmax,
            2 => Scoring::SigmoidWithBias,
            other => {
                return Err(ImportError::Unsupported {
                    what: "GGUF expert_gating_func",
                    found: other.to_string(),
                    supported: "1 (softmax), 2 (sigmoid)".into(),
                });
            }
        };
        let normalize = metadata.flag(&self.key("expert_weights_norm"))?;
        let scale = self.float_or("expert_weights_scale", 1.0)? as f32;
        Ok(Router {
            scoring,
            num_groups: self.count("expert_group_count")?.max(1),
            top_groups: self.count("expert_group_used_count")?.max(1),
            // The architectures other than deepseek2 always normalise.
            normalize: normalize.unwrap_or(!is_latent),
            scale: if scale == 0.0 { 1.0 } else { scale },
        })
    }
}
