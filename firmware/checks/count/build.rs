//! Puts the board's memory where the linker looks for it.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=COUNT_BOARD");
    let board = env::var("COUNT_BOARD").expect("COUNT_BOARD names the board");
    build_model::link(&format!("{board}.x"));
}
