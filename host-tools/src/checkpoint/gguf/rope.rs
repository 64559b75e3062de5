//! RoPE as a GGUF file states it, read as llama.cpp reads it.
//!
//! | key (after the architecture's name and `rope.`) | meaning |
//! |---|---|
//! | `scaling.type` | `none`, `linear` or `yarn`; absent: `linear` |
//! | `scaling.factor`, absent: `scale_linear` | the divisor; 0 or absent: 1 |
//! | `scaling.attn_factor` | multiplies cosines and sines, whatever the type, on top of YaRN's own temperature, and in `deepseek2` files its square the scores too; llama.cpp's own writer writes 1 always |
//! | `scaling.original_context_length` | absent or 0: the context length |
//! | `scaling.yarn_beta_fast`, `scaling.yarn_beta_slow` | YaRN's bounds, 32 and 1 |
//! | `scaling.yarn_log_multiplier` | `deepseek2` only: a tenth of `mscale_all_dim` |
//! | `scaling.yarn_ext_factor`, `scaling.yarn_attn_factor` | refused unless they change nothing |
//! | `scaling.finetuned` | does not change the result |
//!
//! In `deepseek2` files YaRN's temperature stands on the scores, squared, and
//! cancels out of cosines and sines: the converter keeps one of the two
//! `mscale`s of a configuration, and they are equal in all published models.
//! Without the multiplier it is the other way round, as transformers has it
//! where `mscale_all_dim` is absent.

use briquette_engine::blob::Attention;

use super::model::Keys;
use crate::checkpoint::ImportError;
use crate::checkpoint::rope::{RopeScaling, inverse_frequencies, yarn_mscale};

/// What the equations need of RoPE.
pub(super) struct Rope {
    /// One for each pair, scaling applied.
    pub(super) inverse_frequencies: Vec<f32>,
    /// Factor on the scores before softmax.
    pub(super) softmax_scale: f32,
    /// Factor on cosines and sines.
    pub(super) attention_factor: f32,
}

impl Rope {
    /// Reads RoPE for heads of this attention.
    ///
    /// # Errors
    /// If a number makes no sense or asks for what is not computed.
    pub(super) fn read(keys: &Keys<'_>, attention: Attention) -> Result<Self, ImportError> {
        let (dim, head_dim) = match attention {
            Attention::Mla(mla) => (
                mla.qk_rope_head_dim,
                mla.qk_nope_head_dim + mla.qk_rope_head_dim,
            ),
            Attention::Gqa(gqa) => (gqa.head_dim, gqa.head_dim),
        };
        if keys.size_or("rope.dimension_count", dim)? != dim {
            let expected = format!("{dim}: partial rotation is not supported");
            return Err(keys.bad("rope.dimension_count", &expected));
        }
        let is_latent = matches!(attention, Attention::Mla(_));
        let theta = keys.positive_or("rope.freq_base", 10_000.0)?;
        let factor = factor(keys)?;
        let scaling = scaling(keys, factor)?;
        refuse_what_is_not_computed(keys, &scaling, is_latent)?;
        let stated = keys.positive_or("rope.scaling.attn_factor", 1.0)?;
        let temperature = Temperature::read(keys, &scaling, factor, is_latent)?;
        let mut softmax_scale = f64::from(head_dim).powf(-0.5) * temperature.on_scores.powi(2);
        if is_latent {
            softmax_scale *= stated.powi(2);
        }
        Ok(Self {
            inverse_frequencies: inverse_frequencies(dim, theta, &scaling),
            softmax_scale: softmax_scale as f32,
            attention_factor: (stated * temperature.on_rotation) as f32,
        })
    }
}

/// Where YaRN's temperature stands.
struct Temperature {
    on_rotation: f64,
    /// Its square multiplies the scores.
    on_scores: f64,
}

impl Temperature {
    fn read(
        keys: &Keys<'_>,
        scaling: &RopeScaling,
        factor: f64,
        is_latent: bool,
    ) -> Result<Self, ImportError> {
        let multiplier = match scaling {
            RopeScaling::None => 0.0,
            _ if is_latent => keys.float_or("rope.scaling.yarn_log_multiplier", 0.0)? * 10.0,
            _ => 0.0,
        };
        let is_yarn = matches!(scaling, RopeScaling::Yarn { .. });
        Ok(Self {
            on_rotation: if is_yarn && multiplier == 0.0 {
                yarn_mscale(factor, 1.0)
            } else {
                1.0
            },
            on_scores: yarn_mscale(factor, multiplier),
        })
    }
}

/// What frequencies are divided by.
fn factor(keys: &Keys<'_>) -> Result<f64, ImportError> {
    let new = "rope.scaling.factor";
    let name = if keys.has(new) {
        new
    } else {
        "rope.scale_linear"
    };
    match keys.float_or(name, 0.0)? {
        0.0 => Ok(1.0),
        factor if factor > 0.0 => Ok(factor),
        _ => Err(keys.bad(name, "a positive number, or 0 for none")),
    }
}

fn scaling(keys: &Keys<'_>, factor: f64) -> Result<RopeScaling, ImportError> {
    match keys.string("rope.scaling.type")?.unwrap_or("linear") {
        "none" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor }),
        "yarn" => Ok(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: match keys
                .count("rope.scaling.original_context_length")?
            {
                0 => keys.size("context_length")?.into(),
                length => length.into(),
            },
            beta_fast: keys.positive_or("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: keys.positive_or("rope.scaling.yarn_beta_slow", 1.0)?,
            truncate: true,
        }),
        other => Err(ImportError::Unsupported {
            what: "GGUF rope.scaling.type",
            found: other.to_owned(),
            supported: "none, linear, yarn".into(),
        }),
    }
}

/// Keys of which only one value is computed here. A negative `yarn_ext_factor`
/// leaves it to the type.
fn refuse_what_is_not_computed(
    keys: &Keys<'_>,
    scaling: &RopeScaling,
    is_latent: bool,
) -> Result<(), ImportError> {
    let of_yarn = f64::from(u8::from(matches!(scaling, RopeScaling::Yarn { .. })));
    let extrapolation = "rope.scaling.yarn_ext_factor";
    let stated = keys.float_or(extrapolation, of_yarn)?;
    if stated >= 0.0 && stated != of_yarn {
        return Err(keys.bad(extrapolation, &format!("{of_yarn}, or no such key")));
    }
    let mut neutral = vec![("rope.scaling.yarn_attn_factor", 1.0)];
    if !is_latent {
        neutral.push(("rope.scaling.yarn_log_multiplier", 0.0));
    }
    for (name, value) in neutral {
        if keys.float_or(name, value)? != value {
            return Err(keys.bad(name, &format!("{value}, or no such key")));
        }
    }
    Ok(())
}
