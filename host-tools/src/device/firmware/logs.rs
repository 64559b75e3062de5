//! What a board logs: defmt frames, which the firmware's own reader turns into
//! lines with the table in the board's program.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use super::{FirmwareError, Program};

/// Which logs are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {
    /// What went wrong: panics, faults, errors.
    Errors,
    /// All of them.
    All,
}

/// The level of what went wrong, which begins a line.
const ERROR: &str = "error";

/// Logs on their way to stderr.
#[derive(Debug)]
pub(super) struct Shown {
    reader: Child,
    lines: Option<JoinHandle<()>>,
}

impl Logs {
    /// Shows the logs in `frames`, which `program` writes.
    pub(super) fn show(
        self,
        program: &Program,
        frames: ChildStdout,
    ) -> Result<Shown, FirmwareError> {
        let mut reader = Command::new("bash")
            .arg(&program.log_reader)
            .arg(&program.elf)
            // As when the program was built.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .stdin(frames)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| FirmwareError::start("bash", "your system's packages", error))?;
        let stdout = reader.stdout.take();
        let lines = stdout.map(|stdout| {
            std::thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                for line in lines.filter(|line| self == Self::All || is_error(line)) {
                    crate::support::terminal::tell_line!("{line}");
                }
            })
        });
        Ok(Shown { reader, lines })
    }
}

fn is_error(line: &str) -> bool {
    let level = line.get(..ERROR.len());
    level.is_some_and(|level| level.eq_ignore_ascii_case(ERROR))
}

impl Drop for Shown {
    /// Waits for the last line: the board has ended by now.
    fn drop(&mut self) {
        if let Some(lines) = self.lines.take() {
            let _ = lines.join();
        }
        let _ = self.reader.wait();
    }
}
