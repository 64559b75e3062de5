//! What `deny.toml` allows, and what cargo says is there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

use serde::Deserialize;

/// The workspace of what runs on hosts. Cargo is asked once for all tests.
pub static HOSTS: LazyLock<Metadata> = LazyLock::new(|| metadata("Cargo.toml"));

/// The workspace of programs for bare metal.
pub static BARE_METAL: LazyLock<Metadata> = LazyLock::new(|| metadata("firmware/Cargo.toml"));

/// What is read of `deny.toml`.
#[derive(Deserialize)]
pub struct Policy {
    pub licenses: Licences,
    pub bans: Bans,
}

#[derive(Deserialize)]
pub struct Licences {
    pub allow: Vec<String>,
    pub exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
pub struct Exception {
    #[serde(rename = "crate")]
    pub package: String,
    pub allow: Vec<String>,
}

/// Crates of which several versions may be there.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bans {
    pub skip: Vec<Skipped>,
    pub skip_tree: Vec<Skipped>,
}

/// A crate, as `name` or `name@version`.
#[derive(Deserialize)]
pub struct Skipped {
    #[serde(rename = "crate")]
    pub package: String,
}

/// What is read of `cargo metadata`.
#[derive(Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
    pub resolve: Resolve,
}

/// Who depends on whom.
#[derive(Deserialize)]
pub struct Resolve {
    pub nodes: Vec<Node>,
}

#[derive(Deserialize)]
pub struct Node {
    pub id: String,
    pub dependencies: Vec<String>,
}

#[derive(Default, Deserialize)]
pub struct Package {
    pub id: String,
    pub name: String,
    pub version: String,
    pub license: Option<String>,
}

/// What `deny.toml` says.
pub fn policy() -> Policy {
    toml::from_str(&fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

/// What cargo says of a workspace, with all features.
fn metadata(manifest: &str) -> Metadata {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--all-features",
        ])
        .arg("--manifest-path")
        .arg(root().join(manifest))
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {message}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
