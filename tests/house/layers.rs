//! Imports run down: no room of a crate uses one that stands above it.
//!
//! The rooms of a crate are its top-level modules. Each list goes from the
//! ground up; a room that is missing from it, or no longer there, fails too.

mod graph;

use std::path::Path;

use graph::Graph;

/// The engine's rooms.
const ENGINE: &[&str] = &[
    "cut", "math", "aligned", "digest", "quant", "text", "blob", "kv", "error", "storage",
    "kernels", "execute", "cpu", "burn",
];

/// The host tool's rooms: from a checkpoint to an answer.
const HOST_TOOLS: &[&str] = &[
    "support",
    "chat",
    "checkpoint",
    "pack",
    "run",
    "measure",
    "device",
    "train",
    "commands",
    "cli",
];

#[test]
fn engine_imports_run_down() {
    check("engine", ENGINE);
}

#[test]
fn host_tools_imports_run_down() {
    check("host-tools", HOST_TOOLS);
}

#[test]
fn an_import_that_runs_up_is_found() {
    let mut graph = Graph::default();
    graph.read("low", "use crate::high::Roof;").unwrap();
    graph.read("high", "use crate::low::Floor;").unwrap();
    let found = faults(&graph, &["low", "high"]);
    assert_eq!(found, ["low uses crate::high::Roof, which stands above it"]);
}

#[test]
fn paths_in_code_and_the_roots_own_names_count_as_imports() {
    let mut graph = Graph::default();
    graph
        .read("", "pub use high::Roof; mod low; mod high;")
        .unwrap();
    graph
        .read(
            "low",
            "use super::Roof as R; fn f() -> crate::high::Wall { todo() }",
        )
        .unwrap();
    graph.read("high", "").unwrap();
    assert_eq!(faults(&graph, &["low", "high"]).len(), 2);
}

#[test]
fn tests_may_import_what_they_like() {
    let mut graph = Graph::default();
    graph
        .read("low", "#[cfg(test)] mod tests { use crate::high::Roof; }")
        .unwrap();
    graph.read("high", "").unwrap();
    assert_eq!(faults(&graph, &["low", "high"]), [""; 0]);
}

#[test]
fn a_room_that_the_list_lacks_is_found() {
    let mut graph = Graph::default();
    graph.read("low", "").unwrap();
    graph.read("cellar::wine", "").unwrap();
    assert_eq!(
        faults(&graph, &["low", "high"]),
        [
            "cellar has no place in the list of rooms",
            "there is no room high"
        ]
    );
}

fn check(package: &str, rooms: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(package)
        .join("src");
    let graph = Graph::of_crate(&source);
    let found = faults(&graph, rooms);
    assert!(found.is_empty(), "in {package}:\n{}", found.join("\n"));
}

/// What is wrong with `graph`, whose rooms should stand in the order of
/// `rooms`, one sentence each.
fn faults(graph: &Graph, rooms: &[&str]) -> Vec<String> {
    let floor = |room: &str| rooms.iter().position(|name| *name == room);
    let mut found: Vec<String> = graph
        .rooms()
        .filter(|room| floor(room).is_none())
        .map(|room| format!("{room} has no place in the list of rooms"))
        .collect();
    let missing = rooms
        .iter()
        .filter(|room| !graph.rooms().any(|name| name == **room));
    found.extend(missing.map(|room| format!("there is no room {room}")));
    for import in graph.imports() {
        if floor(&import.to) > floor(&import.from) {
            let (module, path) = (&import.module, &import.path);
            found.push(format!("{module} uses {path}, which stands above it"));
        }
    }
    found
}
