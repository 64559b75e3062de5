//! `briquette tokenize`: how a text is cut.

use std::io::Write;
use std::path::PathBuf;

use briquette_engine::text::EncodeOptions;
use serde_json::json;

use super::CommandError;
use crate::loaded::BriqFile;
use crate::text::TextModel;

/// Prints the token ids and pieces of a text.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette tokenize model.briq \"Hello, world!\"
  briquette tokenize model.briq --special --json \"<|im_start|>user\" | jq .ids")]
pub(crate) struct Args {
    /// The briquette
    file: PathBuf,
    /// The text
    text: String,
    /// Read the names of special tokens as these tokens
    #[arg(long)]
    special: bool,
    /// Put the tokenizer's own tokens (begin of text, …) around it
    #[arg(long)]
    add_special: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let file = BriqFile::open(&args.file)?;
    let blob = file.blob()?;
    let text = TextModel::new(&blob)?;
    let options = EncodeOptions {
        add_special: args.add_special,
        parse_special: args.special,
    };
    let ids = text.encode(&args.text, options)?;
    let pieces: Vec<String> = ids
        .iter()
        .map(|id| String::from_utf8_lossy(text.tokenizer().token_bytes(*id)).into_owned())
        .collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({ "ids": ids, "pieces": pieces }))?;
    } else {
        for (id, piece) in ids.iter().zip(&pieces) {
            writeln!(out, "{id:>7}  {piece:?}")?;
        }
    }
    Ok(())
}
