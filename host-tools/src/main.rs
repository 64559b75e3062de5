//! The `briquette` command-line tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    briquette::cli::main()
}
