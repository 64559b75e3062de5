//! Boards' programs, and what reads their logs.
//!
//! All builds share one folder and replace what the last one left there, so tests
//! build one at a time and take copies with them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use briquette_tests::{printed, repository, script};
use tempfile::TempDir;

/// What to do where there is no emulator.
pub const MISSING_QEMU: &str = "install QEMU with: sudo apt-get install qemu-system-arm";

static BUILDS: Mutex<()> = Mutex::new(());

/// Keeps other tests from building until it is dropped.
pub fn build_alone() -> MutexGuard<'static, ()> {
    // A test that failed while it built has left nothing that others need.
    BUILDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program for a board, which no later build replaces.
pub struct Program {
    _folder: TempDir,
    /// The ELF file.
    pub elf: PathBuf,
}

impl Program {
    /// Runs `build`, which is `firmware/scripts/build` with its arguments.
    pub fn build(build: &mut Command) -> Self {
        let _alone = build_alone();
        let built = printed(build);
        let folder = tempfile::tempdir().unwrap();
        let elf = folder.path().join("program");
        fs::copy(built.trim(), &elf).unwrap();
        Self {
            _folder: folder,
            elf,
        }
    }

    /// QEMU's machine `board` with this program in it, and no display.
    pub fn emulator(&self, board: &str) -> Command {
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-machine", board, "-display", "none", "-kernel"])
            .arg(&self.elf)
            .stdin(Stdio::null());
        qemu
    }

    /// What reads the program's log. It is built once, and then does not wait for
    /// another test's build as `firmware/scripts/log` would.
    pub fn log_reader(&self) -> Command {
        static BUILT: Once = Once::new();
        BUILT.call_once(|| {
            let _alone = build_alone();
            let mut log = script("firmware/scripts/log");
            // An empty log.
            printed(log.arg(&self.elf).stdin(Stdio::null()));
        });
        let mut reader = Command::new(repository().join("firmware/target/release/device-log"));
        reader.arg(&self.elf);
        reader
    }
}
