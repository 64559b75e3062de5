//! Running the tool.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The tool with these arguments and no input.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_briquette"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the tool.
pub fn tool(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// What the tool prints, which must not fail.
pub fn succeed(args: &[&str]) -> String {
    let output = tool(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// As [`succeed`], with `--json`.
pub fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[args, &["--json"]].concat())).unwrap()
}

/// The message of what must fail with exit code 1, soon.
pub fn fail(args: &[&str]) -> String {
    let start = Instant::now();
    message(&tool(args), start)
}

/// The message of what has failed as [`fail`] says.
pub fn message(output: &Output, start: Instant) -> String {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.lines().any(|line| line.starts_with("error: ")),
        "{errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
    assert!(start.elapsed() < Duration::from_secs(30), "{errors}");
    errors
}

/// Sends a signal, by its name for `kill`.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A path in the repository.
pub fn in_repository(name: &str) -> String {
    repository().join(name).to_str().unwrap().to_owned()
}

/// A folder or file of `tests/golden`.
pub fn golden(name: &str) -> String {
    in_repository(&format!("tests/golden/{name}"))
}
