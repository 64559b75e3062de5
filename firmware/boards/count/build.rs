//! Puts the board's memory where the linker looks for it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=COUNT_BOARD");
    let board = env::var("COUNT_BOARD").expect("COUNT_BOARD names the board");
    let memory = format!("{board}.x");
    println!("cargo::rerun-if-changed={memory}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy(&memory, out.join("memory.x")).unwrap_or_else(|error| panic!("{memory}: {error}"));
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rustc-link-arg=--nmagic");
}
