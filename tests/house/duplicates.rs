//! What we ask for ourselves is there in one version: `deny.toml` names what may
//! bring versions of its own, and why.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::policy::{Bans, HOSTS, Metadata, Node, Package, Skipped, policy};

#[test]
fn nothing_is_there_twice_but_what_is_said() {
    let found = duplicates(&HOSTS, &policy().bans);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn without_the_exceptions_there_are_duplicates() {
    let found = duplicates(&HOSTS, &Bans::default());
    for skipped in policy().bans.skip {
        let name = skipped.package.split('@').next().unwrap().to_owned();
        let line = format!("{name}: ");
        assert!(
            found.iter().any(|found| found.starts_with(&line)),
            "{name} is there once"
        );
    }
}

/// Packages of which several versions are there, outside of what `bans` skips.
fn duplicates(metadata: &Metadata, bans: &Bans) -> Vec<String> {
    let skipped = below(metadata, &bans.skip_tree);
    let counted = metadata.packages.iter().filter(|package| {
        let is_skipped = bans.skip.iter().any(|skip| matches(skip, package));
        !is_skipped && !skipped.contains(package.id.as_str())
    });
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in counted {
        versions
            .entry(&package.name)
            .or_default()
            .push(&package.version);
    }
    let several = versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1);
    several
        .map(|(name, versions)| format!("{name}: {}", versions.join(", ")))
        .collect()
}

/// The packages that `roots` name, and all that these depend on.
fn below<'a>(metadata: &'a Metadata, roots: &[Skipped]) -> HashSet<&'a str> {
    let nodes: HashMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node))
        .collect();
    let named = metadata
        .packages
        .iter()
        .filter(|p| roots.iter().any(|root| matches(root, p)));
    let mut waiting: Vec<&str> = named.map(|package| package.id.as_str()).collect();
    let mut found = HashSet::new();
    while let Some(id) = waiting.pop() {
        if found.insert(id) {
            waiting.extend(nodes[id].dependencies.iter().map(String::as_str));
        }
    }
    found
}

fn matches(skipped: &Skipped, package: &Package) -> bool {
    match skipped.package.split_once('@') {
        Some((name, version)) => name == package.name && version == package.version,
        None => skipped.package == package.name,
    }
}
