//! `briquette inspect`: what a briquette is and what it costs.

use std::io::Write;
use std::path::PathBuf;

use super::CommandError;
use crate::measure::Report;
use crate::run::BriqFile;

/// Shows architecture, sizes by part, bytes touched per token and memory.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette inspect model.briq
  briquette inspect model.briq --context 512
  briquette inspect model.briq --json | jq .memory")]
pub(crate) struct Args {
    /// The briquette, or a signed update with one in it
    file: PathBuf,
    /// Tokens that the cache holds [default: what the file was packed for]
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let file = BriqFile::open(&args.file)?;
    let update = file.update();
    let blob = match &update {
        Some(update) => update.blob().map_err(|source| CommandError::Content {
            path: args.file.clone(),
            what: source.to_string(),
        })?,
        None => file.blob()?,
    };
    let report = Report::new(&blob, args.context)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut json = report.to_json();
        if let Some(update) = &update {
            json["update"] = update.to_json();
        }
        writeln!(out, "{json}")?;
        return Ok(());
    }
    if let Some(update) = &update {
        writeln!(out, "A signed update, {update}; the briquette in it:\n")?;
    }
    write!(out, "{report}")?;
    Ok(())
}
