//! Which number format each part of the model gets.

use briquette_engine::blob::{Part, Role};
use briquette_engine::quant::NumberFormat;

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightFormat {
    /// 32-bit floating point: for comparing with a reference.
    F32,
    /// 16-bit floating point.
    F16,
    /// 8-bit groups of 32: 8.5 bits a weight.
    Q8,
    /// 4-bit groups of 32: 4.5 bits a weight (5 where the source has minima).
    Q4,
}

/// One choice for all weights, and exceptions for single parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatChoice {
    /// For every part that is not named.
    pub weights: WeightFormat,
    /// Embedding and language-model head; by default `q8` beside `q4`.
    pub embedding: Option<WeightFormat>,
    /// Attention projections.
    pub attention: Option<WeightFormat>,
    /// Dense and shared MLPs.
    pub mlp: Option<WeightFormat>,
    /// Routed experts.
    pub experts: Option<WeightFormat>,
}

impl FormatChoice {
    /// The same format for all parts that can have it.
    pub const fn new(weights: WeightFormat) -> Self {
        Self {
            weights,
            embedding: None,
            attention: None,
            mlp: None,
            experts: None,
        }
    }

    /// The number format of a tensor whose source is stored as `encoding`.
    ///
    /// Norms, biases and routers stay `f32`. Four-bit weights become `q4a`,
    /// with minima, where the source has minima too or has more than four
    /// bits to begin with; its codes are then kept, not rounded again.
    pub fn format(&self, role: Role, encoding: &str) -> NumberFormat {
        let asked = match role.part() {
            Part::Exact => return NumberFormat::F32,
            Part::Embedding => self.embedding.unwrap_or(match self.weights {
                WeightFormat::Q4 => WeightFormat::Q8,
                other => other,
            }),
            Part::Attention => self.attention.unwrap_or(self.weights),
            Part::Mlp => self.mlp.unwrap_or(self.weights),
            Part::Experts => self.experts.unwrap_or(self.weights),
        };
        match asked {
            WeightFormat::F32 => NumberFormat::F32,
            WeightFormat::F16 => NumberFormat::F16,
            WeightFormat::Q8 => NumberFormat::Q8,
            WeightFormat::Q4 => match encoding {
                "Q4_1" | "Q4_K" | "Q5_0" | "Q5_1" | "Q5_K" | "Q6_K" => NumberFormat::Q4Affine,
                _ => NumberFormat::Q4,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_get_the_formats_that_were_asked_for() {
        let choice = FormatChoice {
            experts: Some(WeightFormat::Q4),
            ..FormatChoice::new(WeightFormat::Q8)
        };
        assert_eq!(choice.format(Role::ExpertUp, "BF16"), NumberFormat::Q4);
        assert_eq!(
            choice.format(Role::ExpertUp, "Q4_K"),
            NumberFormat::Q4Affine
        );
        assert_eq!(choice.format(Role::Output, "Q4_K"), NumberFormat::Q8);
        assert_eq!(choice.format(Role::Router, "F32"), NumberFormat::F32);
        assert_eq!(choice.format(Role::FinalNorm, "BF16"), NumberFormat::F32);
    }

    #[test]
    fn the_embedding_is_wider_beside_four_bits() {
        let choice = FormatChoice::new(WeightFormat::Q4);
        assert_eq!(choice.format(Role::Embedding, "F32"), NumberFormat::Q8);
        let forced = FormatChoice {
            embedding: Some(WeightFormat::Q4),
            ..choice
        };
        assert_eq!(forced.format(Role::LmHead, "F32"), NumberFormat::Q4);
    }
}
