//! Everything that Briquette stands on may be shipped with it: `deny.toml` says
//! which licences, and why each exception is one.
//!
//! `cargo deny check` reads the same file and looks for known advisories as well;
//! this test needs neither the network nor a tool.

use crate::policy::{Bans, Licences, MANIFESTS, Package, Policy, packages, policy};

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
            bans: Bans::default(),
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
        ..Package::default()
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
