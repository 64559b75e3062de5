//! Puts the target profiles of `models/targets` into the tool.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    // The first is a link to the second, which a published package has as a folder.
    let folders = ["targets", "../models/targets"].map(|folder| Path::new(&root).join(folder));
    let folder = folders.iter().find_map(|folder| {
        let folder = folder.canonicalize().ok()?;
        folder.is_dir().then_some(folder)
    });
    let folder = folder.expect("the package has a folder of target profiles");
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    let table: String = files
        .iter()
        .map(|path| {
            let path = path.canonicalize().expect("the file is there");
            let name = path.file_stem().expect("a file has a name");
            format!("({name:?}, include_str!({path:?})),\n")
        })
        .collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("profiles.rs"), format!("&[\n{table}]\n")).expect("OUT_DIR can be written");
}
