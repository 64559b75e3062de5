//! `briquette verify`: a full integrity check.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::CommandError;
use crate::loaded::BriqFile;
use crate::terminal;

/// Reads the whole file and compares every checksum.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  briquette verify model.briq")]
pub(crate) struct Args {
    /// The briquette
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let file = BriqFile::open(&args.file)?;
    let blob = file.blob()?;
    blob.verify().map_err(|source| CommandError::Damaged {
        path: args.file.clone(),
        source,
    })?;
    let bytes = blob.bytes().len() as u64;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({ "ok": true, "bytes": bytes }))?;
    } else {
        let size = terminal::bytes(bytes);
        writeln!(out, "{}: intact, {size}", args.file.display())?;
    }
    Ok(())
}
