//! `briquette tokenize`: how a text is cut, and what tokens stand for.

use std::io::Write;
use std::path::PathBuf;

use briquette_engine::text::{EncodeOptions, Tokenizer};
use serde_json::json;

use super::{CommandError, input};
use crate::chat::TextModel;
use crate::run::BriqFile;

/// Prints the token ids and pieces of a text.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette tokenize model.briq \"Hello, world!\"
  briquette tokenize model.briq --special --json \"<|im_start|>user\" | jq .ids
  briquette tokenize model.briq --file book.txt --json > ids.json
  echo \"- a list item\" | briquette tokenize model.briq -
  briquette tokenize model.briq --decode \"[45, 72, 79]\"

A file is taken verbatim; of standard input the last line break is left out.
A text is cut as it stands: `run` puts the chat template around it, see
`run --show-prompt`.")]
pub(crate) struct Args {
    /// The briquette
    file: PathBuf,
    /// The text; - reads standard input
    #[arg(allow_hyphen_values = true, required_unless_present = "text_file")]
    text: Option<String>,
    /// Take the text from FILE; - reads standard input
    #[arg(long = "file", value_name = "FILE", conflicts_with = "text")]
    text_file: Option<PathBuf>,
    /// The text is a list of token ids, such as \"1 2 3\" or \"[1, 2, 3]\": print
    /// what they stand for
    #[arg(long, conflicts_with_all = ["special", "add_special"])]
    decode: bool,
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

impl Args {
    fn text(&self) -> Result<String, CommandError> {
        match (&self.text_file, self.text.as_deref()) {
            (Some(path), _) => input::text_of(path),
            (None, Some("-") | None) => input::standard_input(),
            (None, Some(text)) => Ok(text.to_owned()),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let file = BriqFile::open(&args.file)?;
    let blob = file.blob()?;
    let model = TextModel::new(&blob)?;
    let tokenizer = model.tokenizer();
    let text = args.text()?;
    let ids = if args.decode {
        ids(&text, tokenizer.vocabulary())?
    } else {
        let options = EncodeOptions {
            add_special: args.add_special,
            parse_special: args.special,
        };
        model.encode(&text, options)?
    };
    warn_of_unknown(tokenizer, &ids);
    let pieces: Vec<String> = ids.iter().map(|id| piece(tokenizer, *id)).collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut report = json!({ "ids": ids, "pieces": pieces });
        if args.decode {
            report["text"] = decoded(tokenizer, &ids).into();
        }
        writeln!(out, "{report}")?;
    } else if args.decode {
        writeln!(out, "{}", decoded(tokenizer, &ids))?;
    } else {
        for (id, piece) in ids.iter().zip(&pieces) {
            writeln!(out, "{id:>7}  {piece:?}")?;
        }
    }
    Ok(())
}

/// Warns that the vocabulary does not cover the text.
fn warn_of_unknown(tokenizer: &Tokenizer<'_>, ids: &[u32]) {
    let unknown = tokenizer.header().unknown;
    let count = ids.iter().filter(|id| **id == unknown).count();
    if count > 0 {
        tracing::warn!(
            "{count} pieces of the text are not in the vocabulary; `run --show-prompt` shows what \
             the chat template makes of it"
        );
    }
}

/// The ids that were typed or copied: numbers separated by anything that a list
/// may have between them.
fn ids(text: &str, vocabulary: u32) -> Result<Vec<u32>, CommandError> {
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
    let words = text.split(separates).filter(|word| !word.is_empty());
    words
        .map(|word| match word.parse() {
            Ok(id) if id < vocabulary => Ok(id),
            Ok(_) | Err(_) => Err(CommandError::Refused(format!(
                "`{word}` is no token id: ids are whole numbers from 0 to {}",
                vocabulary.saturating_sub(1)
            ))),
        })
        .collect()
}

fn decoded(tokenizer: &Tokenizer<'_>, ids: &[u32]) -> String {
    let mut bytes = Vec::new();
    tokenizer.decode(ids, false, |piece| bytes.extend_from_slice(piece));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn piece(tokenizer: &Tokenizer<'_>, id: u32) -> String {
    String::from_utf8_lossy(tokenizer.token_bytes(id)).into_owned()
}
