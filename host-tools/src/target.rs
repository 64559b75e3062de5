//! What a device has, and whether a model fits it.

use std::fmt;
use std::path::{Path, PathBuf};

use briquette_engine::blob::{ExpertSizes, ModelConfig};
use briquette_engine::cpu::{Plan, PlanOptions};
use serde::Deserialize;

use crate::terminal::bytes;

/// Memory of a device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What the device is.
    pub description: String,
    /// Bytes of RAM.
    pub ram_bytes: u64,
    /// Of these, bytes for stack, drivers and the rest of the program.
    pub reserved_ram_bytes: u64,
    /// Bytes of flash or storage that can be read in place.
    pub flash_bytes: u64,
    /// Of these, bytes for the program.
    pub reserved_flash_bytes: u64,
    /// How it gets its firmware, if there is one.
    pub firmware: Option<Firmware>,
}

/// How a device gets its firmware.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// The board: a folder of `firmware/boards`.
    pub board: String,
    /// Rust's name for its processor.
    pub rust_target: String,
    /// What starts the program.
    pub runner: Runner,
}

/// What starts a program on a board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    /// QEMU, and its name for the board.
    Qemu(String),
    /// probe-rs, and its name for the chip.
    ProbeRs(String),
}

/// Profiles that come with the tool: all of `models/targets`, by name.
const PROFILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// Why there is no such target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Neither a known name nor a file.
    #[error("no target `{name}`; known: {known}, or the path of a .toml file")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// The profile cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The profile is not what it should be.
    #[error("target profile `{name}`: {source}")]
    Profile {
        /// The name or path.
        name: String,
        /// What is wrong.
        source: toml::de::Error,
    },
}

/// What a model takes of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    description: String,
    arena: u64,
    ram: u64,
    file: u64,
    flash: u64,
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            description,
            arena,
            ram,
            file,
            flash,
        } = self;
        let [arena, ram, file, flash] = [arena, ram, file, flash].map(|count| bytes(*count));
        write!(
            f,
            "fits {description}: arena {arena} of {ram} free RAM, file {file} of {flash} free flash"
        )
    }
}

/// A model that needs more than a device has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model does not fit {description}: arena {arena} bytes of {ram} free RAM, \
     file {file} bytes of {flash} free flash{advice}"
)]
pub struct DoesNotFit {
    description: String,
    arena: u64,
    ram: u64,
    file: u64,
    flash: u64,
    advice: String,
}

impl Target {
    /// The profile called `name`, or the one in the file at that path.
    ///
    /// # Errors
    /// If there is neither, or the profile is broken.
    pub fn find(name: &str) -> Result<Self, TargetError> {
        let parse = |text: &str| {
            toml::from_str(text).map_err(|source| TargetError::Profile {
                name: name.to_owned(),
                source,
            })
        };
        if let Some((_, text)) = PROFILES.iter().find(|(known, _)| *known == name) {
            return parse(text);
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Err(TargetError::Unknown {
                name: name.to_owned(),
                known: PROFILES
                    .iter()
                    .map(|(known, _)| *known)
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        }
        let text = std::fs::read_to_string(path).map_err(|source| TargetError::Io {
            path: path.to_owned(),
            source,
        })?;
        parse(&text)
    }

    /// Whether a model of `file_bytes` with this plan fits.
    ///
    /// # Errors
    /// If not: with the numbers, and with what would fit.
    pub fn check(
        &self,
        config: &ModelConfig,
        options: PlanOptions,
        file_bytes: u64,
    ) -> Result<Fit, DoesNotFit> {
        let ram = self.ram_bytes.saturating_sub(self.reserved_ram_bytes);
        let flash = self.flash_bytes.saturating_sub(self.reserved_flash_bytes);
        let arena = arena_bytes(config, options);
        if arena <= ram && file_bytes <= flash {
            return Ok(Fit {
                description: self.description.clone(),
                arena,
                ram,
                file: file_bytes,
                flash,
            });
        }
        let mut advice = String::new();
        if file_bytes > flash {
            advice += "; fewer bits a weight make the file smaller (--weights q4)";
        }
        if arena > ram {
            advice += &match self.largest_context(config, options, ram) {
                Some((context, 1)) if options.batch > 1 => {
                    format!("; it would fit with --context {context} --batch 1")
                }
                Some((context, _)) => format!("; it would fit with --context {context}"),
                None => "; no context fits, even with --batch 1".into(),
            };
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

    /// The longest context that fits with the batch asked for, else with
    /// batches of one.
    fn largest_context(
        &self,
        config: &ModelConfig,
        options: PlanOptions,
        ram: u64,
    ) -> Option<(u32, u32)> {
        [options.batch, 1].into_iter().find_map(|batch| {
            let fits = |context: u32| {
                let options = PlanOptions {
                    context,
                    batch,
                    ..options
                };
                arena_bytes(config, options) <= ram
            };
            // Halving: the arena grows with the context.
            let (mut low, mut high) = (0, options.context);
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                if fits(middle) {
                    low = middle;
                } else {
                    high = middle - 1;
                }
            }
            (low > 0).then_some((low, batch))
        })
    }
}

fn arena_bytes(config: &ModelConfig, options: PlanOptions) -> u64 {
    let plan = Plan::for_config(config, ExpertSizes::default(), options);
    plan.map_or(u64::MAX, |plan| plan.arena_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_parses_and_unknown_ones_are_listed() {
        for (name, _) in PROFILES {
            let target = Target::find(name).unwrap();
            assert!(target.ram_bytes > target.reserved_ram_bytes, "{name}");
        }
        let error = Target::find("arduino").unwrap_err().to_string();
        assert!(
            error.contains("arduino") && error.contains("rp2350"),
            "{error}"
        );
        assert!(Target::find("nowhere/board.toml").is_err());
    }
}
