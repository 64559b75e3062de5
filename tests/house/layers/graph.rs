//! Which rooms of a crate use which, read from its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use syn::visit::Visit;
use syn::{Attribute, Item, ItemUse, UseTree};

/// One use of another room.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// The module that uses something.
    pub module: String,
    /// Its room.
    pub from: String,
    /// What it uses, from the crate's root.
    pub path: String,
    /// The room that it comes from.
    pub to: String,
}

/// A crate's rooms and what they use of each other.
#[derive(Debug, Default)]
pub struct Graph {
    rooms: BTreeSet<String>,
    /// The names that the crate's root exports, with their rooms.
    exports: BTreeMap<String, String>,
    /// Modules with the paths that they use, from the crate's root.
    uses: Vec<(String, Vec<String>)>,
}

impl Graph {
    /// Reads all sources of the crate in `folder`.
    pub fn of_crate(folder: &Path) -> Self {
        let mut graph = Self::default();
        graph.read_folder(folder, &mut Vec::new()).unwrap();
        assert!(graph.rooms.len() > 1, "no sources in {}", folder.display());
        graph
    }

    /// The rooms' names.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.rooms.iter().map(String::as_str)
    }

    /// All uses of one room by another.
    pub fn imports(&self) -> impl Iterator<Item = Import> {
        let pairs = self
            .uses
            .iter()
            .flat_map(|(module, paths)| paths.iter().map(move |path| (module, path)));
        pairs.filter_map(|(module, path)| {
            let from = module.split("::").next().unwrap_or_default();
            let first = path.split("::").next().unwrap_or_default();
            let to = match self.rooms.get(first) {
                Some(room) => room,
                None => self.exports.get(first)?,
            };
            (to != from).then(|| Import {
                module: module.clone(),
                from: from.to_owned(),
                path: format!("crate::{path}"),
                to: to.clone(),
            })
        })
    }

    /// Reads the source of `module`, a path from the crate's root; the root's
    /// own is empty.
    pub fn read(&mut self, module: &str, source: &str) -> syn::Result<()> {
        let file = syn::parse_file(source)?;
        if module.is_empty() {
            self.read_exports(&file.items);
            return Ok(());
        }
        let room = module.split("::").next().unwrap_or_default();
        self.rooms.insert(room.to_owned());
        let mut paths = Paths {
            module: module.split("::").map(str::to_owned).collect(),
            found: Vec::new(),
        };
        paths.visit_file(&file);
        self.uses.push((module.to_owned(), paths.found));
        Ok(())
    }

    fn read_exports(&mut self, items: &[Item]) {
        for item in items {
            if let Item::Use(item) = item {
                for (path, name) in leaves(&item.tree) {
                    let room = path.first().cloned().unwrap_or_default();
                    self.exports.insert(name, room);
                }
            }
        }
    }

    fn read_folder(&mut self, folder: &Path, module: &mut Vec<String>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            // Tests may look at everything; the program stands above the library.
            if stem == "tests" || stem == "main" {
                continue;
            }
            let own = !matches!(&*stem, "mod" | "lib");
            if own {
                module.push(stem.clone().into_owned());
            }
            if path.is_dir() {
                self.read_folder(&path, module)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.read(&module.join("::"), &fs::read_to_string(&path)?)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
            if own {
                module.pop();
            }
        }
        Ok(())
    }
}

/// Collects what a module uses of its own crate.
struct Paths {
    module: Vec<String>,
    found: Vec<String>,
}

impl Paths {
    /// Keeps `path` if it leads through the crate's root.
    fn keep(&mut self, path: &[String]) {
        let ups = path.iter().take_while(|part| *part == "super").count();
        let rest = match path.first().map(String::as_str) {
            Some("crate") => path[1..].to_vec(),
            Some("super") => {
                let stays = self.module.len().saturating_sub(ups);
                [&self.module[..stays], &path[ups..]].concat()
            }
            _ => return,
        };
        self.found.push(rest.join("::"));
    }
}

impl<'a> Visit<'a> for Paths {
    fn visit_item(&mut self, item: &'a Item) {
        match item {
            Item::Mod(module) if is_test(&module.attrs) => {}
            Item::Mod(module) => {
                self.module.push(module.ident.to_string());
                syn::visit::visit_item(self, item);
                self.module.pop();
            }
            _ => syn::visit::visit_item(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        for (path, _) in leaves(&item.tree) {
            self.keep(&path);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        self.keep(&parts);
        syn::visit::visit_path(self, path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

/// The paths that `tree` brings in, each with the name it has afterwards.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    let under = |first: String, leaves: Vec<(Vec<String>, String)>| {
        leaves.into_iter().map(move |(mut path, name)| {
            path.insert(0, first.clone());
            (path, name)
        })
    };
    match tree {
        UseTree::Path(path) => under(path.ident.to_string(), leaves(&path.tree)).collect(),
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(name) => vec![(vec![name.ident.to_string()], name.rename.to_string())],
        UseTree::Glob(_) => vec![(Vec::new(), "*".to_owned())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}
