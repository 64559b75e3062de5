//! What a board's program takes of flash and RAM, as a row of a table.

use std::process::ExitCode;
use std::{env, fs};

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, elf};

/// Why there are no sizes.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Elf(#[from] object::Error),
    #[error("it has no symbol `{0}`: is it a board's program?")]
    Symbol(&'static str),
}

/// Bytes of each part.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sizes {
    /// Code, constants, and what variables start with.
    program: u64,
    model: u64,
    arena: u64,
    /// Variables other than the arena.
    statics: u64,
    stack: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [board, program] = arguments.as_slice() else {
        eprintln!("usage: board-size BOARD PROGRAM.elf");
        return ExitCode::from(2);
    };
    match measure(program) {
        Ok(sizes) => {
            let Sizes {
                program,
                model,
                arena,
                statics,
                stack,
            } = sizes;
            println!("| `{board}` | {program} | {model} | {arena} | {statics} | {stack} |");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(program: &str) -> Result<Sizes, Error> {
    let bytes = fs::read(program)?;
    let file = object::File::parse(bytes.as_slice())?;
    let mut sizes = Sizes::default();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            continue;
        };
        if !sh_flags.contains(elf::SHF_ALLOC) {
            continue;
        }
        let size = section.size();
        let is_model = section.name()? == ".model";
        // What is written once at the start takes both.
        let is_loaded = section.file_range().is_some();
        match (is_model, is_loaded) {
            (true, _) => sizes.model += size,
            (false, true) => sizes.program += size,
            (false, false) => {}
        }
        if sh_flags.contains(elf::SHF_WRITE) && !is_model {
            sizes.statics += size;
        }
    }
    let symbol = |name: &'static str| {
        let mut symbols = file.symbols();
        let found = symbols.find(|symbol| symbol.name().is_ok_and(|full| full.contains(name)));
        found.ok_or(Error::Symbol(name))
    };
    // Rust writes a name's length before it.
    sizes.arena = symbol("5ARENA")?.size();
    sizes.statics = sizes.statics.saturating_sub(sizes.arena);
    sizes.stack = symbol("_stack_start")?.address() - symbol("_stack_end")?.address();
    Ok(sizes)
}
