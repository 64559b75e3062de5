//! What a device has: the profiles of `models/targets`, and files like them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

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
    /// Bytes of flash or storage for the model and the program.
    pub flash_bytes: u64,
    /// Whether the processor reads them in place. If not, all of a model but its
    /// experts is loaded into RAM, and experts as there is room for.
    #[serde(default = "mapped")]
    pub flash_mapped: bool,
    /// Of these, bytes for the program.
    pub reserved_flash_bytes: u64,
    /// How it gets its firmware, if there is one.
    pub firmware: Option<Firmware>,
}

const fn mapped() -> bool {
    true
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
    /// The chip's family in UF2 files, if it takes such.
    #[serde(default)]
    pub uf2_family: Option<u32>,
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
