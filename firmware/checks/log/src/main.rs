//! Prints what a board logs: defmt frames on standard input, read with the
//! table in the program that was flashed.

mod decode;

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write, stdin, stdout};
use std::process::ExitCode;
use std::{env, fs};

use decode::{Table, TableError};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(program), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: device-log PROGRAM.elf < FRAMES");
        return ExitCode::from(2);
    };
    match print(&program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}

/// Why no more can be printed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Table(#[from] TableError),
}

fn print(program: &OsString) -> Result<(), Error> {
    let table = Table::read(&fs::read(program)?)?;
    let mut log = table.log();
    let (mut frames, mut out) = (stdin().lock(), stdout().lock());
    let mut buffer = [0; 4096];
    loop {
        let count = match frames.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        for line in log.push(&buffer[..count]) {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
    }
}
