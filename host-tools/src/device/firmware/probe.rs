//! Flashing real boards with probe-rs.

use std::process::{Command, Stdio};

use super::{FirmwareError, Program};
use crate::support::terminal;

const TOOL: &str = "probe-rs";
/// The variable in which probe-rs itself looks for a choice.
const CHOICE: &str = "PROBE_RS_PROBE";
/// Version 0.32.0 mostly fails on the RP2350, where 0.31.0 works (probe-rs#4302).
const INSTALL: &str =
    "cargo install probe-rs-tools --locked --version 0.31.0 (or see https://probe.rs)";
const INSTALL_OR_UF2: &str = "cargo install probe-rs-tools --locked --version 0.31.0 (or see \
     https://probe.rs); without a debug probe, write a file with --uf2 FILE and copy it to the \
     board's drive";

/// The debug probe of a real board.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// probe-rs's name of the board's chip.
    pub chip: &'a str,
    /// Which probe it is, as probe-rs's `--probe` takes it; without it the only
    /// one, or the one that the environment names for probe-rs.
    pub selector: Option<&'a str>,
    /// Whether the board could take a UF2 file instead.
    pub takes_uf2: bool,
}

impl Probe<'_> {
    /// Writes `program` to the chip and starts it; with `logs`, shows what it logs
    /// until Ctrl-C.
    ///
    /// # Errors
    /// If probe-rs is missing or fails.
    pub fn flash(&self, program: &Program, logs: bool) -> Result<(), FirmwareError> {
        if logs {
            let run = self.probe_rs("flashing and running the board", |command| {
                command.arg("run");
                self.choose(command).arg(&program.elf)
            });
            // Ctrl-C has ended the log, and was meant for nothing else.
            if terminal::interrupted() {
                terminal::clear_interrupt();
                return Ok(());
            }
            return run;
        }
        self.probe_rs("flashing the board", |command| {
            command.args(["download", "--verify"]);
            self.choose(command).arg(&program.elf)
        })?;
        self.probe_rs("starting the board", |command| {
            self.choose(command.arg("reset"))
        })
    }

    fn choose<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.args(["--chip", self.chip]);
        if let Some(selector) = self.selector {
            command.args(["--probe", selector]);
        }
        command
    }

    fn probe_rs(
        &self,
        what: &str,
        arguments: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<(), FirmwareError> {
        let mut command = Command::new(TOOL);
        arguments(&mut command)
            // Our standard output is the answers'.
            .stdout(Stdio::from(std::io::stderr()))
            // probe-rs would ask there which of several probes is meant.
            .stdin(Stdio::null());
        let install = if self.takes_uf2 {
            INSTALL_OR_UF2
        } else {
            INSTALL
        };
        let status = command
            .status()
            .map_err(|error| FirmwareError::start(TOOL, install, error))?;
        if status.success() {
            return Ok(());
        }
        let what = what.to_owned();
        let is_chosen = self.selector.is_some() || std::env::var_os(CHOICE).is_some();
        let probes = if is_chosen { Vec::new() } else { plugged_in() };
        Err(if probes.len() > 1 {
            FirmwareError::SeveralProbes { what, probes }
        } else {
            FirmwareError::Probe {
                what,
                status,
                advice: self.advice(),
            }
        })
    }

    /// What to try when probe-rs fails.
    fn advice(&self) -> String {
        let mut advice = String::new();
        if self.chip.starts_with("RP23") {
            advice += "; on this chip probe-rs 0.32.0 mostly fails, where 0.31.0 works";
        }
        if self.takes_uf2 {
            advice += "; --uf2 FILE needs no probe";
        }
        advice
    }
}

/// The probes that probe-rs finds, one per line, as in `[0]: Debug Probe -- 2e8a:000c:E661 (CMSIS-DAP)`.
fn plugged_in() -> Vec<String> {
    let listed = Command::new(TOOL).arg("list").stdin(Stdio::null()).output();
    let Ok(listed) = listed else {
        return Vec::new();
    };
    let lines = String::from_utf8_lossy(&listed.stdout).into_owned();
    let is_probe = |line: &&str| line.starts_with('[');
    lines
        .lines()
        .map(str::trim)
        .filter(is_probe)
        .map(str::to_owned)
        .collect()
}
