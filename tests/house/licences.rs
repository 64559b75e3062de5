//! Everything that Briquette stands on may be shipped with it: `deny.toml` says
//! which licences, and why each exception is one.
//!
//! `cargo deny check` reads the same file and looks for known advisories and
//! duplicates as well; this test needs neither the network nor a tool.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde::Deserialize;

/// The two workspaces: what runs on hosts, and programs for bare metal.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "firmware/Cargo.toml"];

/// What this test reads of `deny.toml`.
#[derive(Deserialize)]
struct Policy {
    licenses: Licences,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    package: String,
    allow: Vec<String>,
}

/// What this test reads of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
}

#[test]
fn every_package_has_a_licence_that_is_allowed() {
    let policy = policy();
    for manifest in MANIFESTS {
        let packages = packages(manifest);
        assert!(packages.len() > 10, "{manifest}: few packages");
        let refused: Vec<String> = packages
            .iter()
            .filter_map(|p| refusal(&policy, p))
            .collect();
        assert!(refused.is_empty(), "{manifest}:\n{}", refused.join("\n"));
    }
}

#[test]
fn every_exception_is_needed() {
    let policy = policy();
    let packages: Vec<Package> = MANIFESTS
        .iter()
        .flat_map(|manifest| packages(manifest))
        .collect();
    for exception in &policy.licenses.exceptions {
        let package = packages
            .iter()
            .find(|package| package.name == exception.package);
        let package = package.unwrap_or_else(|| panic!("{} is used no more", exception.package));
        let plain = Policy {
            licenses: Licences {
                allow: policy.licenses.allow.clone(),
                exceptions: Vec::new(),
            },
        };
        assert!(
            refusal(&plain, package).is_some(),
            "{} needs no exception",
            package.name
        );
    }
}

#[test]
fn a_licence_that_is_not_allowed_is_refused() {
    let package = Package {
        name: "stranger".to_owned(),
        license: Some("MIT AND AGPL-3.0-only".to_owned()),
    };
    assert!(refusal(&policy(), &package).is_some());
    let unlicensed = Package {
        license: None,
        ..package
    };
    assert!(refusal(&policy(), &unlicensed).is_some());
}

/// Why `package` may not be used, if it may not.
fn refusal(policy: &Policy, package: &Package) -> Option<String> {
    let name = &package.name;
    let Some(licence) = &package.license else {
        return Some(format!("{name} names no licence"));
    };
    let mut allowed = policy.licenses.allow.clone();
    let own = policy
        .licenses
        .exceptions
        .iter()
        .filter(|exception| exception.package == *name);
    allowed.extend(own.flat_map(|exception| exception.allow.clone()));
    let allowed: Vec<spdx::Licensee> = allowed
        .iter()
        .map(|text| spdx::Licensee::parse(text).unwrap())
        .collect();
    // Older packages write `MIT/Apache-2.0` where the standard says `OR`.
    let Ok(expression) = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX) else {
        return Some(format!("{name}: what licence is \"{licence}\"?"));
    };
    let fits = expression.evaluate(|wanted| allowed.iter().any(|own| own.satisfies(wanted)));
    (!fits).then(|| format!("{name}: {licence}"))
}

fn policy() -> Policy {
    toml::from_str(&fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

fn packages(manifest: &str) -> Vec<Package> {
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
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
    metadata.packages
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
