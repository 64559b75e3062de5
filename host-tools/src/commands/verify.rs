//! `briquette verify`: a full integrity check.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::CommandError;
use crate::run::{BriqFile, SignedUpdate};
use crate::support::terminal;

/// Reads the whole file and compares every checksum.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  briquette verify model.briq")]
pub(crate) struct Args {
    /// The briquette, or a signed update with one in it
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let file = BriqFile::open(&args.file)?;
    if let Some(update) = file.update() {
        return verify_update(args, &update);
    }
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

/// An update is as intact as the briquette in it, if that is what was signed.
fn verify_update(args: &Args, update: &SignedUpdate<'_>) -> Result<(), CommandError> {
    update.verify().map_err(|source| CommandError::Content {
        path: args.file.clone(),
        what: source.to_string(),
    })?;
    let bytes = update.metadata.length;
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = json!({ "ok": true, "bytes": bytes, "update": update.to_json() });
        writeln!(out, "{report}")?;
    } else {
        writeln!(
            out,
            "{}: a signed update, {update}; its briquette is intact, {}; whether its signature is \
             right, the device will tell",
            args.file.display(),
            terminal::bytes(bytes)
        )?;
    }
    Ok(())
}
