//! Whether a model fits a device, and what would.

use std::fmt;

use briquette_engine::blob::{ExpertSizes, ModelConfig};
use briquette_engine::{Plan, PlanOptions};

use super::Target;
use crate::support::terminal::bytes;

/// What a model takes of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    description: String,
    arena: u64,
    ram: u64,
    file: u64,
    flash: u64,
    /// Experts in memory and in all, if the flash is not mapped.
    slots: Option<(u64, u64)>,
}

impl Fit {
    /// Experts that are kept in memory; 0 if all are read in place.
    pub fn expert_slots(&self) -> u64 {
        self.slots.map_or(0, |(slots, _)| slots)
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            description,
            arena,
            ram,
            file,
            flash,
            slots,
        } = self;
        let [arena, ram, file, flash] = [arena, ram, file, flash].map(|count| bytes(*count));
        write!(
            f,
            "fits {description}: arena {arena} of {ram} free RAM, file {file} of {flash} free flash"
        )?;
        match slots {
            Some((slots, experts)) => write!(
                f,
                "; its flash is not mapped: {slots} of {experts} experts in memory"
            ),
            None => Ok(()),
        }
    }
}

/// A model that needs more than a device has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model does not fit {description}: arena {} of {} free RAM, \
     file {} of {} free flash{advice}",
    bytes(*arena), bytes(*ram), bytes(*file), bytes(*flash)
)]
pub struct DoesNotFit {
    description: String,
    arena: u64,
    ram: u64,
    file: u64,
    flash: u64,
    advice: String,
}

/// Options of `pack` that make the smallest file.
const FEWEST_BITS: &str = "--weights q4 --embedding q4 --head q4";

impl Target {
    /// Whether a model of `file_bytes` with this plan fits. Where flash is not
    /// mapped, the plan gets as many slots for experts as there is room for, and
    /// the arena is counted with all that has to be loaded. `smallest` is the
    /// file in the fewest bits, if there is a choice.
    ///
    /// # Errors
    /// If not: with the numbers, and with what would fit.
    pub fn check(
        &self,
        config: &ModelConfig,
        experts: ExpertSizes,
        options: PlanOptions,
        file_bytes: u64,
        smallest: Option<u64>,
    ) -> Result<Fit, DoesNotFit> {
        let ram = self.ram_bytes.saturating_sub(self.reserved_ram_bytes);
        let flash = self.flash_bytes.saturating_sub(self.reserved_flash_bytes);
        let loaded = if self.flash_mapped {
            0
        } else {
            file_bytes.saturating_sub(experts.bytes)
        };
        let need = Need {
            config,
            experts,
            ram: ram.saturating_sub(loaded),
        };
        let mut options = options;
        let mut slots = None;
        if !self.flash_mapped && experts.count > 0 {
            options.expert_slots = need.most_slots(options);
            slots = Some((options.expert_slots.into(), experts.count));
        }
        let arena = need.arena_bytes(options).saturating_add(loaded);
        if arena <= ram && file_bytes <= flash {
            return Ok(Fit {
                description: self.description.clone(),
                arena,
                ram,
                file: file_bytes,
                flash,
                slots,
            });
        }
        let stored = advice_on_file(file_bytes, flash, smallest);
        let mut advice = stored.advice;
        if arena > ram && stored.is_possible {
            advice += &need.advice_on_context(options);
        }
        Err(DoesNotFit {
            description: self.description.clone(),
            arena,
            ram,
            file: file_bytes,
            flash,
            advice,
        })
    }
}

/// What to do about a file, and whether that is enough.
struct Stored {
    is_possible: bool,
    advice: String,
}

/// What to do if a file does not fit the flash; `smallest` is the file in the
/// fewest bits, if there is a choice.
fn advice_on_file(file_bytes: u64, flash: u64, smallest: Option<u64>) -> Stored {
    if file_bytes <= flash {
        return Stored {
            is_possible: true,
            advice: String::new(),
        };
    }
    let is_possible = smallest.is_some_and(|smallest| smallest <= flash);
    let advice = match smallest {
        Some(smallest) if is_possible => {
            format!(
                "; the file would take {} with {FEWEST_BITS}",
                bytes(smallest)
            )
        }
        Some(smallest) => format!(
            "; even with {FEWEST_BITS} the file takes {}: it needs a smaller model or more flash",
            bytes(smallest)
        ),
        None => "; it needs fewer bits (pack it again) or more flash".into(),
    };
    Stored {
        is_possible,
        advice,
    }
}

/// A model, and the RAM that its arena may take.
struct Need<'a> {
    config: &'a ModelConfig,
    experts: ExpertSizes,
    ram: u64,
}

impl Need<'_> {
    fn arena_bytes(&self, options: PlanOptions) -> u64 {
        let plan = Plan::for_config(self.config, self.experts, options);
        plan.map_or(u64::MAX, |plan| plan.arena_bytes())
    }

    /// As many slots for experts as there is room for, but at least one.
    fn most_slots(&self, options: PlanOptions) -> u32 {
        let all = u32::try_from(self.experts.count).unwrap_or(u32::MAX);
        let fits = |expert_slots| {
            let options = PlanOptions {
                expert_slots,
                ..options
            };
            self.arena_bytes(options) <= self.ram
        };
        largest(all, fits).max(1)
    }

    /// What to do if the arena does not fit.
    fn advice_on_context(&self, options: PlanOptions) -> String {
        match self.largest_context(options) {
            Some((context, 1)) if options.batch > 1 => {
                format!("; it would fit with --context {context} --batch 1")
            }
            Some((context, _)) => format!("; it would fit with --context {context}"),
            None => "; no context fits, even with --batch 1".into(),
        }
    }

    /// The longest context that fits with the batch asked for, else with
    /// batches of one.
    fn largest_context(&self, options: PlanOptions) -> Option<(u32, u32)> {
        [options.batch, 1].into_iter().find_map(|batch| {
            let fits = |context| {
                let options = PlanOptions {
                    context,
                    batch,
                    ..options
                };
                self.arena_bytes(options) <= self.ram
            };
            let context = largest(options.context, fits);
            (context > 0).then_some((context, batch))
        })
    }
}

/// The largest number up to `most` that fits, by halving; 0 if none does.
fn largest(most: u32, fits: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use briquette_engine::blob::{Attention, Gqa};
    use briquette_engine::quant::KvFormat;

    use super::*;

    /// What is not mapped is loaded; experts as there is room for.
    #[test]
    fn flash_that_is_not_mapped_takes_ram() {
        let config = ModelConfig {
            vocab_size: 96,
            hidden_size: 32,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 32,
            max_position_embeddings: 64,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: true,
            mlp_bias: false,
            attention: Attention::Gqa(Gqa {
                num_key_value_heads: 1,
                head_dim: 16,
                query_key_norm: false,
                qkv_bias: false,
                output_bias: false,
            }),
            softmax_scale: 0.25,
            rope_attention_factor: 1.0,
            sliding_window: None,
            moe: None,
        };
        let experts = ExpertSizes {
            count: 8,
            bytes: 80_000,
            largest: 10_000,
        };
        let options = PlanOptions {
            context: 16,
            batch: 1,
            logits: 1,
            kv: KvFormat::Q8,
            expert_slots: 0,
            mtp: false,
        };
        let arena = Plan::for_config(&config, experts, options).unwrap();
        let target = |ram_bytes, flash_mapped| Target {
            description: "a board".into(),
            ram_bytes,
            reserved_ram_bytes: 0,
            flash_bytes: 1 << 20,
            flash_mapped,
            reserved_flash_bytes: 0,
            firmware: None,
        };
        let check =
            |ram, mapped| target(ram, mapped).check(&config, experts, options, 100_000, None);
        let mapped = arena.arena_bytes();
        assert_eq!(check(mapped, true).unwrap().arena, mapped);
        // 20000 bytes are loaded; each slot takes its expert and a few bytes.
        assert!(check(mapped + 29_999, false).is_err());
        let fit = check(mapped + 20_000 + 3 * 10_100, false).unwrap();
        assert_eq!(fit.slots, Some((3, 8)));
        assert!(fit.to_string().contains("3 of 8 experts"), "{fit}");
        let fit = check(mapped + 1_000_000, false).unwrap();
        assert_eq!(fit.slots, Some((8, 8)));
        // What is advised would fit, or nothing is.
        let advice = |file, smallest| {
            let target = target(mapped - 1, true);
            let refused = target.check(&config, experts, options, file, smallest);
            refused.unwrap_err().to_string()
        };
        let smaller = advice(2 << 20, Some(1 << 20));
        assert!(smaller.contains("1.00 MiB with --weights q4"), "{smaller}");
        assert!(smaller.contains("it would fit with --context"), "{smaller}");
        for smallest in [Some(2 << 20), Some(3 << 19), None] {
            let hopeless = advice(2 << 20, smallest);
            assert!(hopeless.contains("more flash"), "{hopeless}");
            assert!(!hopeless.contains("--context"), "{hopeless}");
        }
    }
}
