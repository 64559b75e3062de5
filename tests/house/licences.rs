//! Everything that Briquette stands on may be shipped with it: `deny.toml` says
//! which licences, and why each exception is one.
//!
//! `cargo deny check` reads the same file and looks for known advisories as well;
//! this test needs neither the network nor a tool.

use crate::policy::{BARE_METAL, HOSTS, Licences, Package, policy};

#[test]
fn every_package_has_a_licence_that_is_allowed() {
    let licences = policy().licenses;
    for (workspace, metadata) in [("hosts", &*HOSTS), ("bare metal", &*BARE_METAL)] {
        let packages = &metadata.packages;
        assert!(packages.len() > 10, "{workspace}: few packages");
        let refused: Vec<String> = packages
            .iter()
            .filter_map(|p| refusal(&licences, p))
            .collect();
        assert!(refused.is_empty(), "{workspace}:\n{}", refused.join("\n"));
    }
}

#[test]
fn every_exception_is_needed() {
    let licences = policy().licenses;
    let plain = Licences {
        allow: licences.allow,
        exceptions: Vec::new(),
    };
    for exception in &licences.exceptions {
        let mut packages = HOSTS.packages.iter().chain(&BARE_METAL.packages);
        let package = packages.find(|package| package.name == exception.package);
        let package = package.unwrap_or_else(|| panic!("{} is used no more", exception.package));
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
    assert!(refusal(&policy().licenses, &package).is_some());
    let unlicensed = Package {
        license: None,
        ..package
    };
    assert!(refusal(&policy().licenses, &unlicensed).is_some());
}

/// Why `package` may not be used, if it may not.
fn refusal(licences: &Licences, package: &Package) -> Option<String> {
    let name = &package.name;
    let Some(licence) = &package.license else {
        return Some(format!("{name} names no licence"));
    };
    let mut allowed = licences.allow.clone();
    let own = licences
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
