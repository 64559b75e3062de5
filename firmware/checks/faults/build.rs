//! Puts the memory of the board in QEMU that has the target's core where the
//! linker looks for it.

use std::env;

fn main() {
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let board = match target.as_str() {
        "thumbv7em-none-eabihf" => "mps2-an500",
        "thumbv8m.main-none-eabihf" => "mps3-an547",
        _ => panic!("there is no board with the core of {target}"),
    };
    build_model::link(&format!("../../boards/{board}/memory.x"));
    println!("cargo::rustc-link-arg=-Tdefmt.x");
}
