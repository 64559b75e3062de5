//! Flashing real boards with probe-rs.

use std::process::{Command, Stdio};

use super::{FirmwareError, Program};

const TOOL: &str = "probe-rs";
const INSTALL: &str = "cargo install probe-rs-tools --locked (or see https://probe.rs)";

/// Writes `program` to the chip and starts it; with `logs`, shows what it logs
/// until Ctrl-C.
///
/// # Errors
/// If probe-rs is missing or fails.
pub fn flash(program: &Program, chip: &str, logs: bool) -> Result<(), FirmwareError> {
    if logs {
        return probe_rs("flashing and running the board", |command| {
            command.args(["run", "--chip", chip]).arg(&program.elf)
        });
    }
    probe_rs("flashing the board", |command| {
        command
            .args(["download", "--verify", "--chip", chip])
            .arg(&program.elf)
    })?;
    probe_rs("starting the board", |command| {
        command.args(["reset", "--chip", chip])
    })
}

fn probe_rs(
    what: &str,
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<(), FirmwareError> {
    let mut command = Command::new(TOOL);
    arguments(&mut command)
        // Our standard output is the answers'.
        .stdout(Stdio::from(std::io::stderr()))
        .stdin(Stdio::null());
    let status = command
        .status()
        .map_err(|error| FirmwareError::start(TOOL, INSTALL, error))?;
    if status.success() {
        Ok(())
    } else {
        Err(FirmwareError::Failed {
            what: what.to_owned(),
            status,
        })
    }
}
