//! The repository's bash scripts.

use std::process::Command;

use crate::repository;

/// The script at `path`, to be given arguments. What cargo tells a test is not
/// meant for the builds of a script, so it is not told.
#[must_use]
pub fn script(path: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .arg(repository().join(path))
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS");
    command
}

/// Runs `command`; returns what it prints.
///
/// # Panics
/// If it fails, with its errors.
pub fn printed(command: &mut Command) -> String {
    let output = command.output().expect("bash can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("scripts print text")
}
