//! For build scripts: puts a briquette into a program, and reserves just the
//! memory that it needs.

use std::path::PathBuf;
use std::{env, fs};

/// Names the file to flash.
const MODEL: &str = "BRIQUETTE_MODEL";

/// Checks the briquette that the environment names, and writes `model.rs` with
/// its bytes and the arena's size; puts `memory.x` where the linker looks.
pub fn main() {
    println!("cargo::rerun-if-env-changed={MODEL}");
    println!("cargo::rerun-if-changed=memory.x");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy("memory.x", out.join("memory.x")).expect("memory.x can be copied");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rustc-link-arg=--nmagic");

    let Some(model) = env::var_os(MODEL) else {
        panic!("{MODEL} is not set: which briquette is to be flashed?");
    };
    let model = PathBuf::from(model).canonicalize();
    let model = model.unwrap_or_else(|error| panic!("{MODEL}: {error}"));
    println!("cargo::rerun-if-changed={}", model.display());
    let bytes = fs::read(&model).unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    let arena = briquette_device::arena_bytes(&bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    let program = format!(
        "/// The briquette, where the core reads it in place.\n\
         #[unsafe(link_section = \".model\")]\n\
         static MODEL: Aligned<[u8; {length}]> = Aligned(*include_bytes!({model:?}));\n\
         /// Bytes of arena that it was planned to need.\n\
         const ARENA_BYTES: usize = {arena};\n",
        length = bytes.len(),
    );
    fs::write(out.join("model.rs"), program).expect("model.rs can be written");
}
