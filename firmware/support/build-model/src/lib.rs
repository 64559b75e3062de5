//! For build scripts: puts a briquette into a program, and reserves exactly
//! the memory that it needs.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use briquette_engine::blob::Blob;
use briquette_engine::{EngineError, Plan, PlanOptions};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey;

/// Names the file to flash.
const MODEL: &str = "BRIQUETTE_MODEL";
/// Its version, 0 if it is not set: updates must not be older.
const VERSION: &str = "BRIQUETTE_MODEL_VERSION";
/// Names the public key (PEM) that signatures of updates are verified with; without
/// it the device takes none.
const KEY: &str = "BRIQUETTE_UPDATE_KEY";

/// Says how many experts are kept in memory, on boards that can read them from
/// flash that is not mapped; without it everything is read in place.
const EXPERT_SLOTS: &str = "BRIQUETTE_EXPERT_SLOTS";

/// Checks the briquette that the environment names, and writes `model.rs` with
/// its bytes and the arena's size, and `updates.rs` with what updates of it must
/// be; puts `memory.x` where the linker looks.
pub fn main() {
    if let slots @ 1.. = expert_slots() {
        fail(&format!(
            "{EXPERT_SLOTS} is {slots}, but this board reads its flash in place"
        ));
    }
    write_program(0);
}

/// As [`main`], for boards whose flash may be one that is not mapped: the constant
/// `EXPERT_SLOTS` says how many experts are kept in memory, 0 if flash is mapped.
/// Then the arena has room for the rest of the model too.
pub fn main_with_expert_slots() {
    let slots = expert_slots();
    write_program(slots);
    let path = out_dir().join("model.rs");
    let mut program = fs::read_to_string(&path).expect("model.rs can be read");
    program += &format!("const EXPERT_SLOTS: u32 = {slots};\n");
    fs::write(path, program).expect("model.rs can be written");
}

/// Links a program for bare metal with the memory that the file `memory`
/// describes.
pub fn link(memory: &str) {
    println!("cargo::rerun-if-changed={memory}");
    let out = out_dir();
    fs::copy(memory, out.join("memory.x")).unwrap_or_else(|error| panic!("{memory}: {error}"));
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rustc-link-arg=--nmagic");
}

fn expert_slots() -> u32 {
    println!("cargo::rerun-if-env-changed={EXPERT_SLOTS}");
    let Ok(slots) = env::var(EXPERT_SLOTS) else {
        return 0;
    };
    slots
        .parse()
        .unwrap_or_else(|_| fail(&format!("{EXPERT_SLOTS} is `{slots}`, not a number")))
}

/// Ends the build with a message about what it was told.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1)
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"))
}

fn write_program(slots: u32) {
    println!("cargo::rerun-if-env-changed={MODEL}");
    let out = out_dir();
    link("memory.x");
    println!("cargo::rustc-link-arg=-Tdefmt.x");

    let Some(model) = env::var_os(MODEL) else {
        fail(&format!(
            "{MODEL} is not set: which briquette is to be flashed?"
        ));
    };
    let model = PathBuf::from(model).canonicalize();
    let model = model.unwrap_or_else(|error| fail(&format!("{MODEL}: {error}")));
    println!("cargo::rerun-if-changed={}", model.display());
    let unusable =
        |error: &dyn fmt::Display| -> ! { fail(&format!("{}: {error}", model.display())) };
    let bytes = fs::read(&model).unwrap_or_else(|error| unusable(&error));
    let (planned, promised) = arena_bytes(&bytes, slots).unwrap_or_else(|error| unusable(&error));
    let program = format!(
        "/// The briquette, where the core reads it in place.\n\
         #[expect(unsafe_code, reason = \"the linker script has a place for it\")]\n\
         #[unsafe(link_section = \".model\")]\n\
         static MODEL: board_runtime::Aligned<[u8; {length}]> =\n    \
         board_runtime::Aligned(*include_bytes!({model:?}));\n\
         /// Exactly the memory that was planned.\n\
         static ARENA: board_runtime::ConstStaticCell<board_runtime::Arena<{planned}>> =\n    \
         board_runtime::ConstStaticCell::new(board_runtime::Arena::new());\n\
         const _: () = assert!(\n    \
         size_of::<board_runtime::Arena<{planned}>>() == {promised},\n    \
         \"the arena is not what the briquette promises: pack it again, with this version's tool\",\n\
         );\n",
        length = bytes.len(),
    );
    fs::write(out.join("model.rs"), program).expect("model.rs can be written");
    fs::write(out.join("updates.rs"), updates(planned)).expect("updates.rs can be written");
}

/// What updates must be, as a constant; `None` without a key.
fn updates(arena: u64) -> String {
    println!("cargo::rerun-if-env-changed={VERSION}");
    println!("cargo::rerun-if-env-changed={KEY}");
    let version = env::var(VERSION).map_or(0, |text| {
        text.parse::<u32>()
            .unwrap_or_else(|error| fail(&format!("{VERSION}={text}: {error}")))
    });
    let wanted = env::var_os(KEY).map(|path| {
        let key = public_key(&PathBuf::from(path));
        format!("ram_flash::Wanted {{ key: {key:?}, version: {version}, arena_bytes: {arena} }}")
    });
    let wanted = wanted.map_or("None".into(), |wanted| format!("Some({wanted})"));
    format!("const UPDATES: Option<ram_flash::Wanted> = {wanted};\n")
}

fn public_key(path: &Path) -> [u8; 32] {
    println!("cargo::rerun-if-changed={}", path.display());
    let unusable = |error: &dyn fmt::Display| -> ! {
        let path = std::path::absolute(path).unwrap_or(path.to_owned());
        fail(&format!(
            "{KEY} names {}, which is no public key: {error}; `briquette device keygen` makes \
             one, in a file that ends in .pub",
            path.display()
        ))
    };
    let pem = fs::read_to_string(path).unwrap_or_else(|error| unusable(&error));
    VerifyingKey::from_public_key_pem(&pem)
        .unwrap_or_else(|error| unusable(&error))
        .to_bytes()
}

/// Bytes of arena that this engine plans for a briquette, and that the memory
/// contract in its manifest promises; with slots, those and what is loaded come on
/// top of both.
fn arena_bytes(file: &[u8], expert_slots: u32) -> Result<(u64, u64), EngineError> {
    let blob = Blob::open(file)?;
    let manifest = blob.manifest();
    let options = PlanOptions {
        expert_slots,
        ..PlanOptions::packed(manifest)
    };
    let plan = Plan::new(manifest, options)?;
    let promised = manifest.memory.scratch_bytes + manifest.memory.kv_bytes;
    let loaded = match expert_slots {
        0 => 0,
        _ => blob.loaded_bytes(),
    };
    let planned = plan.arena_bytes() + loaded;
    Ok((planned, promised + plan.slot_bytes() + loaded))
}
