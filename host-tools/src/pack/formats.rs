//! Which number format each part of the model gets.

use briquette_engine::blob::{Part, Role};
use briquette_engine::quant::KvFormat;
use briquette_engine::quant::NumberFormat;

use crate::checkpoint::Encoding;

/// The number format that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightFormat {
    /// 32-bit floating point: for comparing with a reference.
    F32,
    /// 16-bit floating point.
    F16,
    /// 8-bit groups of 32: 8.5 bits per weight.
    Q8,
    /// 4-bit groups of 32: 4.5 bits per weight (5 where the source has minima).
    Q4,
    /// 4-bit groups of 32 with minima: 5 bits per weight.
    Q4a,
}

impl WeightFormat {
    /// The name that people type and see.
    pub const fn name(self) -> &'static str {
        number_format(self, None).name()
    }
}

/// The number format that is asked for the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CacheFormat {
    /// For comparing with a reference
    F32,
    /// 16-bit floating point
    F16,
    /// 8-bit groups of 32; the rotated key of MLA stays f16
    Q8,
    /// 4-bit groups of 32, rotated; keys stay wider: q8, or f16 for MLA's rotated key
    Q4,
}

impl From<CacheFormat> for KvFormat {
    fn from(format: CacheFormat) -> Self {
        match format {
            CacheFormat::F32 => Self::F32,
            CacheFormat::F16 => Self::F16,
            CacheFormat::Q8 => Self::Q8,
            CacheFormat::Q4 => Self::Q4,
        }
    }
}

/// One choice for all weights, and exceptions for single parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatChoice {
    /// For every part that is not named.
    pub weights: WeightFormat,
    /// Embedding, which is the head too where the two are tied; by default `q8`
    /// with four bits, or the source's own four bits.
    pub embedding: Option<WeightFormat>,
    /// Language-model head; by default by the same rule.
    pub head: Option<WeightFormat>,
    /// Attention projections.
    pub attention: Option<WeightFormat>,
    /// Dense and shared MLPs.
    pub mlp: Option<WeightFormat>,
    /// Routed experts.
    pub experts: Option<WeightFormat>,
}

impl FormatChoice {
    /// The smallest file.
    pub const FEWEST_BITS: Self = Self {
        embedding: Some(WeightFormat::Q4),
        head: Some(WeightFormat::Q4),
        ..Self::new(WeightFormat::Q4)
    };

    /// The same format for all parts that can have it.
    pub const fn new(weights: WeightFormat) -> Self {
        Self {
            weights,
            embedding: None,
            head: None,
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
    pub fn format(&self, role: Role, encoding: Option<Encoding>) -> NumberFormat {
        let asked = match role.part() {
            Part::Exact => return NumberFormat::F32,
            Part::Embedding => return self.vocabulary_format(role, encoding),
            Part::Attention => self.attention,
            Part::Mlp => self.mlp,
            Part::Experts => self.experts,
        };
        number_format(asked.unwrap_or(self.weights), encoding)
    }

    /// The format of the embedding and the head.
    fn vocabulary_format(&self, role: Role, encoding: Option<Encoding>) -> NumberFormat {
        let asked = match role {
            Role::LmHead => self.head,
            _ => self.embedding,
        };
        let default = match self.weights {
            WeightFormat::Q4 | WeightFormat::Q4a => beside_four_bits(encoding),
            other => other,
        };
        number_format(asked.unwrap_or(default), encoding)
    }

    /// The choice for a model whose embedding is its head too, or `None` if the
    /// two were asked for in different formats.
    pub fn tied(self) -> Option<Self> {
        match (self.embedding, self.head) {
            (Some(embedding), Some(head)) if embedding != head => None,
            (embedding, head) => Some(Self {
                embedding: embedding.or(head),
                ..self
            }),
        }
    }
}

/// What the embedding and the head get by default with four-bit weights:
/// with both in `q4a` SmolLM2's perplexity on *Persuasion* grows from 38.48 to
/// 41.09.
fn beside_four_bits(encoding: Option<Encoding>) -> WeightFormat {
    match encoding {
        // Codes of four bits are kept as they are: nothing is lost.
        Some(Encoding::Q4_0 | Encoding::Q4_1) => WeightFormat::Q4,
        _ => WeightFormat::Q8,
    }
}

/// What is written where `asked` is asked for and the source is `encoding`.
const fn number_format(asked: WeightFormat, encoding: Option<Encoding>) -> NumberFormat {
    match asked {
        WeightFormat::F32 => NumberFormat::F32,
        WeightFormat::F16 => NumberFormat::F16,
        WeightFormat::Q8 => NumberFormat::Q8,
        WeightFormat::Q4 => match encoding {
            Some(
                Encoding::Q4_1
                | Encoding::Q4_K
                | Encoding::Q5_0
                | Encoding::Q5_1
                | Encoding::Q5_K
                | Encoding::Q6_K,
            ) => NumberFormat::Q4Affine,
            _ => NumberFormat::Q4,
        },
        WeightFormat::Q4a => NumberFormat::Q4Affine,
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
        assert_eq!(
            choice.format(Role::ExpertUp, Some(Encoding::BF16)),
            NumberFormat::Q4
        );
        assert_eq!(
            choice.format(Role::ExpertUp, Some(Encoding::Q4_K)),
            NumberFormat::Q4Affine
        );
        assert_eq!(
            choice.format(Role::Output, Some(Encoding::Q4_K)),
            NumberFormat::Q8
        );
        assert_eq!(
            choice.format(Role::LmHead, Some(Encoding::Q4_K)),
            NumberFormat::Q8
        );
        assert_eq!(
            choice.format(Role::Router, Some(Encoding::F32)),
            NumberFormat::F32
        );
        assert_eq!(
            choice.format(Role::FinalNorm, Some(Encoding::BF16)),
            NumberFormat::F32
        );
    }

    #[test]
    fn beside_four_bits_the_embedding_is_wider_unless_its_source_is_not() {
        let choice = FormatChoice::new(WeightFormat::Q4);
        assert_eq!(
            choice.format(Role::Embedding, Some(Encoding::F32)),
            NumberFormat::Q8
        );
        assert_eq!(
            choice.format(Role::Embedding, Some(Encoding::Q8_0)),
            NumberFormat::Q8
        );
        assert_eq!(
            choice.format(Role::Embedding, Some(Encoding::Q4_0)),
            NumberFormat::Q4
        );
        assert_eq!(
            choice.format(Role::Embedding, Some(Encoding::Q4_1)),
            NumberFormat::Q4Affine
        );
        assert_eq!(
            choice.format(Role::LmHead, Some(Encoding::Q4_0)),
            NumberFormat::Q4
        );
        assert_eq!(
            choice.format(Role::LmHead, Some(Encoding::BF16)),
            NumberFormat::Q8
        );
    }

    #[test]
    fn embedding_and_head_are_chosen_apart() {
        let choice = FormatChoice {
            embedding: Some(WeightFormat::Q4),
            head: Some(WeightFormat::F16),
            ..FormatChoice::new(WeightFormat::Q4)
        };
        assert_eq!(
            choice.format(Role::Embedding, Some(Encoding::F32)),
            NumberFormat::Q4
        );
        assert_eq!(
            choice.format(Role::LmHead, Some(Encoding::F32)),
            NumberFormat::F16
        );
    }

    #[test]
    fn a_tied_head_is_the_embedding() {
        let head = FormatChoice {
            head: Some(WeightFormat::Q4a),
            ..FormatChoice::new(WeightFormat::Q4)
        };
        let tied = head.tied().unwrap();
        assert_eq!(
            tied.format(Role::Embedding, Some(Encoding::F32)),
            NumberFormat::Q4Affine
        );
        let both = |embedding| FormatChoice {
            embedding: Some(embedding),
            ..head
        };
        assert!(both(WeightFormat::Q4a).tied().is_some());
        assert!(both(WeightFormat::Q8).tied().is_none());
    }
}
