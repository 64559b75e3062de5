//! From a briquette to a program for a board.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::FirmwareError;
use crate::pack::Firmware;

/// The folder with the firmware's sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout(PathBuf);

/// A board's program, with the briquette in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The ELF file.
    pub elf: PathBuf,
    /// The script that reads what it logs.
    pub log_reader: PathBuf,
}

/// The script that builds a program, in a checkout.
const SCRIPT: &str = "firmware/scripts/build";
/// The script that reads a program's logs.
const LOG_READER: &str = "firmware/scripts/log";

impl Checkout {
    /// The checkout in `given`; without it the one around the current folder,
    /// or the one that this tool was built from.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(given: Option<&Path>) -> Result<Self, FirmwareError> {
        let is_checkout = |folder: &&Path| folder.join(SCRIPT).is_file();
        let found = match given {
            Some(folder) => Some(folder).filter(is_checkout).map(Path::to_owned),
            None => {
                let here = std::env::current_dir().unwrap_or_default();
                let around = here.ancestors().find(is_checkout);
                let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
                around.or(source.filter(is_checkout)).map(Path::to_owned)
            }
        };
        found.map(Self).ok_or_else(|| FirmwareError::NoCheckout {
            place: given.map(Path::to_owned),
        })
    }

    /// The checkout's folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The folder of build results.
    pub fn build_folder(&self) -> PathBuf {
        self.0.join("firmware/target")
    }

    /// Builds the program of `firmware`'s board around the briquette at
    /// `model`; it keeps `expert_slots` experts in memory, or reads all of the
    /// model in place if that is 0. What the compiler says goes to stderr.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn build(
        &self,
        firmware: &Firmware,
        model: &Path,
        expert_slots: u64,
    ) -> Result<Program, FirmwareError> {
        let output = Command::new("bash")
            .env("BRIQUETTE_EXPERT_SLOTS", expert_slots.to_string())
            .arg(self.0.join(SCRIPT))
            .arg(&firmware.board)
            .arg(model)
            .arg(&firmware.rust_target)
            // What cargo tells us, if it has started us, is not meant for
            // another workspace.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| FirmwareError::start("bash", "your system's packages", error))?;
        if !output.status.success() {
            return Err(FirmwareError::Failed {
                what: format!("building the firmware for {}", firmware.board),
                status: output.status,
            });
        }
        let path = String::from_utf8_lossy(&output.stdout);
        Ok(Program {
            elf: path.trim().into(),
            log_reader: self.0.join(LOG_READER),
        })
    }
}
