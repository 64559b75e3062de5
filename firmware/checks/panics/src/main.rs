//! Where a program can panic: a line for each place, `FILE:LINE`.
//!
//! The program must be linked with `--emit-relocs`: its relocations say who
//! calls whom. A function of `core` that leads to `core::panicking` is one that
//! panics, and each call of such a function from elsewhere is a place.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind};

/// Where the functions are that panic, the handler apart, which the compiler
/// may have put into them.
const PANICKING: &str = "core::panicking::";

fn main() -> ExitCode {
    let Some(program) = env::args().nth(1) else {
        eprintln!("usage: panics PROGRAM.elf");
        return ExitCode::from(2);
    };
    match places(&program) {
        Ok(places) => {
            for place in places {
                println!("{place}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A function of a program.
struct Function {
    name: String,
    start: u64,
    end: u64,
}

/// A call, or any other mention, of the function at `to` in the instruction at
/// `at`.
struct Call {
    at: u64,
    to: u64,
}

fn places(program: &str) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let bytes = fs::read(program)?;
    let file = object::File::parse(bytes.as_slice())?;
    let functions = functions(&file);
    let calls = calls(&file);
    if calls.is_empty() {
        return Err("it has no relocations; link it with --emit-relocs".into());
    }
    let holder = |at: u64| {
        let after = functions.partition_point(|function| function.start <= at);
        let function = after.checked_sub(1).and_then(|i| functions.get(i));
        function.filter(|function| at < function.end)
    };
    let mut panicking: HashSet<u64> = functions
        .iter()
        .filter(|function| function.name.starts_with(PANICKING))
        .map(|function| function.start)
        .collect();
    loop {
        let before = panicking.len();
        for call in &calls {
            if let Some(caller) = holder(call.at)
                && panicking.contains(&call.to)
                && caller.name.starts_with("core::")
            {
                panicking.insert(caller.start);
            }
        }
        if panicking.len() == before {
            break;
        }
    }
    let lines = lines(&file)?;
    let mut found = BTreeSet::new();
    for call in calls.iter().filter(|call| panicking.contains(&call.to)) {
        if let Some(caller) = holder(call.at)
            && !panicking.contains(&caller.start)
        {
            let place = source(&lines, call.at)?;
            found.insert(place.unwrap_or_else(|| caller.name.clone()));
        }
    }
    Ok(found)
}

/// All functions, by where they start.
fn functions(file: &object::File<'_>) -> Vec<Function> {
    let mut found = HashMap::new();
    for symbol in file.symbols() {
        let Ok(name) = symbol.name() else { continue };
        if symbol.kind() == SymbolKind::Text && symbol.size() > 0 {
            let start = symbol.address() & !1;
            let name = format!("{:#}", rustc_demangle::demangle(name));
            let end = start + symbol.size();
            found.insert(start, Function { name, start, end });
        }
    }
    let mut functions: Vec<Function> = found.into_values().collect();
    functions.sort_by_key(|function| function.start);
    functions
}

fn calls(file: &object::File<'_>) -> Vec<Call> {
    let mut calls = Vec::new();
    // Elsewhere relocations are not at addresses, or are no calls.
    let code = |section: &object::Section<'_, '_>| section.kind() == SectionKind::Text;
    for section in file.sections().filter(code) {
        for (at, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                continue;
            };
            if let Ok(symbol) = file.symbol_by_index(index)
                && symbol.kind() == SymbolKind::Text
            {
                let to = symbol.address() & !1;
                calls.push(Call { at, to });
            }
        }
    }
    calls
}

type Lines<'d> = Context<EndianSlice<'d, LittleEndian>>;

/// The program's debugging information, as it was linked: its relocations have
/// been applied.
fn lines<'d>(file: &object::File<'d>) -> Result<Lines<'d>, Box<dyn Error>> {
    let dwarf = Dwarf::load(|id| {
        let section = file.section_by_name(id.name());
        let data = section.and_then(|section| section.data().ok());
        Ok::<_, Box<dyn Error>>(EndianSlice::new(data.unwrap_or_default(), LittleEndian))
    })?;
    Ok(Context::from_dwarf(dwarf)?)
}

/// What the instruction at `address` was compiled from: the innermost line that
/// is not the standard library's. Where the compiler has made one instruction
/// of several lines, there is no line.
fn source(lines: &Lines<'_>, address: u64) -> Result<Option<String>, Box<dyn Error>> {
    let mut frames = lines.find_frames(address).skip_all_loads()?;
    while let Some(frame) = frames.next()? {
        if let Some(location) = frame.location
            && let Some(file) = location.file
            && !file.contains("/library/core/")
        {
            let line = location.line.unwrap_or_default();
            return Ok(Some(match line {
                0 => file.to_owned(),
                line => format!("{file}:{line}"),
            }));
        }
    }
    Ok(None)
}
