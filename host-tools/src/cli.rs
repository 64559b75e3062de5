//! What people type.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::support::terminal;

/// Pack language models into one file and run them anywhere.
///
/// A briquette (.briq) holds a whole model: weights, tokenizer, chat template
/// and the exact memory it needs. `pack` makes one from a Hugging Face folder or
/// a GGUF file; `run` talks to it.
#[derive(Debug, Parser)]
#[command(name = "briquette", version, arg_required_else_help = true)]
#[command(after_help = "Examples:
  briquette demo
  briquette pack ./DeepSeek-V2-Lite -o model.briq --weights q4
  briquette inspect model.briq
  briquette run model.briq -p \"Why is the sky blue?\"

Exit codes: 0 done, 1 failed, 2 wrong usage.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pack the model that ships here, or a small real one, and let it answer
    Demo(commands::demo::Args),
    /// Pack a checkpoint into a briquette
    Pack(commands::pack::Args),
    /// Show what a briquette is and what it costs
    Inspect(commands::inspect::Args),
    /// Check a briquette's integrity, all of it
    Verify(commands::verify::Args),
    /// Let a model answer, or chat with it
    Run(commands::run::Args),
    /// Show how a text is cut into tokens
    Tokenize(commands::tokenize::Args),
    /// Write the logits of given tokens
    Logits(commands::logits::Args),
    /// Measure the perplexity of a text
    Eval(commands::eval::Args),
    /// Measure speed, bytes and memory
    Bench(commands::bench::Args),
    /// Put a model on a board, and talk with it
    Flash(commands::flash::Args),
    /// Talk with a device on a serial line
    Device(commands::device::Args),
    /// Train a small reasoning model
    Train(commands::train::Args),
}

/// Runs the tool on the process's arguments.
pub fn main() -> ExitCode {
    terminal::start_logging();
    terminal::watch_for_interrupt();
    let result = match Cli::parse().command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Pack(args) => commands::pack::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Tokenize(args) => commands::tokenize::run(&args),
        Command::Logits(args) => commands::logits::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Flash(args) => commands::flash::run(&args),
        Command::Device(args) => commands::device::run(&args),
        Command::Train(args) => commands::train::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            terminal::show_error(&error);
            ExitCode::FAILURE
        }
    }
}
