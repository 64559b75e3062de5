//! RoPE as configurations state it.
//!
//! transformers 5 writes one dictionary, `rope_parameters`; published files
//! have `rope_theta` and `rope_scaling` at the top level. As in transformers,
//! `rope_scaling` wins where both are there, and a theta inside the dictionary
//! wins over the top level's.

use super::keys::Keys;
use crate::checkpoint::ImportError;
use crate::checkpoint::rope::{RopeScaling, inverse_frequencies, yarn_mscale};

/// The widest rotated part of a head: far above any model, far below what
/// would exhaust memory.
const MAX_DIM: u32 = 1 << 16;

/// What the equations need of RoPE.
#[derive(Debug)]
pub(super) struct Rope {
    /// One for each pair, scaling applied.
    pub(super) inverse_frequencies: Vec<f32>,
    /// Factor on cosines and sines.
    pub(super) attention_factor: f64,
    /// YaRN's `m` whose square DeepSeek's models put on the scores: made from
    /// `mscale_all_dim`, else 1.
    pub(super) score_scale: f64,
}

/// The dictionary of RoPE's parameters, if there is one, and theta.
#[derive(Debug, Clone, Copy)]
struct Parameters<'a> {
    top: Keys<'a>,
    scaling: Option<Keys<'a>>,
    theta: f64,
    max_positions: u32,
}

impl Rope {
    /// Reads RoPE for heads whose rotated part is `dim` wide.
    ///
    /// # Errors
    /// If the type is not supported or a parameter is missing or makes no sense.
    pub(super) fn read(
        keys: Keys<'_>,
        dim: u32,
        max_positions: u32,
        default_theta: f64,
    ) -> Result<Self, ImportError> {
        if !dim.is_multiple_of(2) || dim > MAX_DIM {
            let stated = ["qk_rope_head_dim", "head_dim"];
            let stated = stated.into_iter().find(|key| keys.get(key).is_some());
            let key = stated.unwrap_or("hidden_size / num_attention_heads");
            let expected =
                format!("an even width of at most {MAX_DIM}: RoPE turns pairs of numbers");
            return Err(keys.bad(key, dim, expected));
        }
        let parameters = Parameters::read(keys, max_positions, default_theta)?;
        let kind = match parameters.scaling {
            Some(scaling) => match scaling.text("rope_type")? {
                Some(kind) => kind,
                None => match scaling.text("type")? {
                    Some(kind) => kind,
                    None => untyped(scaling)?,
                },
            },
            None => "default",
        };
        let (scaling, attention_factor, factor) = match (kind, parameters.scaling) {
            ("default", _) | (_, None) => (RopeScaling::None, 1.0, 1.0),
            ("linear", Some(keys)) => {
                let factor = required_positive(keys, "factor")?;
                (RopeScaling::Linear { factor }, 1.0, factor)
            }
            ("llama3", Some(keys)) => parameters.llama3(keys)?,
            ("yarn", Some(keys)) => parameters.yarn(keys)?,
            (other, Some(_)) => {
                return Err(ImportError::Unsupported {
                    what: "rope_type",
                    found: other.to_owned(),
                    supported: "default, linear, llama3, yarn".to_owned(),
                });
            }
        };
        let mscale_all_dim = match parameters.scaling {
            Some(keys) if kind != "default" => keys.number("mscale_all_dim")?.unwrap_or(0.0),
            _ => 0.0,
        };
        Ok(Self {
            inverse_frequencies: inverse_frequencies(dim, parameters.theta, &scaling),
            attention_factor,
            score_scale: if mscale_all_dim == 0.0 {
                1.0
            } else {
                yarn_mscale(factor, mscale_all_dim)
            },
        })
    }
}

impl<'a> Parameters<'a> {
    fn read(top: Keys<'a>, max_positions: u32, default_theta: f64) -> Result<Self, ImportError> {
        let scaling = match top.nested("rope_scaling", "rope_scaling.")? {
            Some(scaling) => Some(scaling),
            None => top.nested("rope_parameters", "rope_parameters.")?,
        };
        let mut theta = top.positive_or("rope_theta", default_theta)?;
        require_whole_rotation(top)?;
        if let Some(scaling) = scaling {
            require_one_dictionary(scaling)?;
            require_whole_rotation(scaling)?;
            theta = scaling.positive_or("rope_theta", theta)?;
        }
        if theta <= 1.0 {
            return Err(top.bad("rope_theta", theta, "a number greater than 1"));
        }
        Ok(Self {
            top,
            scaling,
            theta,
            max_positions,
        })
    }

    /// The context that the model was trained for before it was scaled.
    fn original_positions(&self, keys: Keys<'_>) -> Result<f64, ImportError> {
        let key = "original_max_position_embeddings";
        let inside = keys.size_or(key, self.max_positions)?;
        self.top.size_or(key, inside).map(f64::from)
    }

    fn llama3(&self, keys: Keys<'_>) -> Result<(RopeScaling, f64, f64), ImportError> {
        let factor = required_positive(keys, "factor")?;
        let low = required_positive(keys, "low_freq_factor")?;
        let high = required_positive(keys, "high_freq_factor")?;
        if high <= low {
            let expected = format!("greater than low_freq_factor = {low}");
            return Err(keys.bad("high_freq_factor", high, expected));
        }
        let scaling = RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: self.original_positions(keys)?,
        };
        Ok((scaling, 1.0, factor))
    }

    fn yarn(&self, keys: Keys<'_>) -> Result<(RopeScaling, f64, f64), ImportError> {
        let original = self.original_positions(keys)?;
        let implied = f64::from(self.max_positions) / original;
        let factor = keys.positive_or("factor", implied)?;
        let beta_fast = number_or(keys, "beta_fast", 32.0)?;
        let beta_slow = number_or(keys, "beta_slow", 1.0)?;
        for (key, beta) in [("beta_fast", beta_fast), ("beta_slow", beta_slow)] {
            if beta <= 0.0 {
                return Err(keys.bad(key, beta, "a number greater than 0"));
            }
        }
        let scaling = RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: original,
            beta_fast,
            beta_slow,
            truncate: keys.flag_or("truncate", true)?,
        };
        let mscale = number_or(keys, "mscale", 0.0)?;
        let mscale_all_dim = number_or(keys, "mscale_all_dim", 0.0)?;
        let attention_factor = match keys.number("attention_factor")? {
            Some(stated) => stated,
            None if mscale != 0.0 && mscale_all_dim != 0.0 => {
                yarn_mscale(factor, mscale) / yarn_mscale(factor, mscale_all_dim)
            }
            None => yarn_mscale(factor, 1.0),
        };
        Ok((scaling, attention_factor, factor))
    }
}

/// Heads of which only a part is rotated are not supported.
fn require_whole_rotation(keys: Keys<'_>) -> Result<(), ImportError> {
    match keys.number("partial_rotary_factor")? {
        Some(part) if part != 1.0 => Err(ImportError::Unsupported {
            what: "partial_rotary_factor",
            found: part.to_string(),
            supported: "1".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// transformers 5 can write one dictionary for each type of layer.
fn require_one_dictionary(keys: Keys<'_>) -> Result<(), ImportError> {
    for layer_type in ["full_attention", "sliding_attention"] {
        if keys.get(layer_type).is_some() {
            return Err(ImportError::Unsupported {
                what: "rope_parameters for a layer type,",
                found: layer_type.to_owned(),
                supported: "the same RoPE in all layers".to_owned(),
            });
        }
    }
    Ok(())
}

/// The type of parameters that state none. transformers scales nothing then,
/// older versions fail; whoever wrote a factor meant something by it.
fn untyped(keys: Keys<'_>) -> Result<&'static str, ImportError> {
    match keys.number("factor")? {
        Some(factor) if factor != 1.0 => {
            let expected = "no factor where rope_type is absent; add `\"rope_type\": \"linear\"` \
                            (or the type that is meant), or remove the factor";
            Err(keys.bad("factor", factor, expected))
        }
        _ => Ok("default"),
    }
}

fn required_positive(keys: Keys<'_>, key: &str) -> Result<f64, ImportError> {
    keys.get(key).ok_or_else(|| keys.missing(key))?;
    keys.positive_or(key, 1.0)
}

/// A number whose absence and whose 0 both mean `default`.
fn number_or(keys: Keys<'_>, key: &str, default: f64) -> Result<f64, ImportError> {
    Ok(keys
        .number(key)?
        .filter(|&number| number != 0.0)
        .unwrap_or(default))
}
