//! `briquette eval`: perplexity.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use briquette_engine::text::EncodeOptions;
use briquette_engine::{Executor, PlanOptions};
use serde_json::json;

use super::{CommandError, OneSession, input, numbers};
use crate::chat::TextModel;
use crate::support::terminal;

/// Measures how well a model predicts a text.
///
/// The text is cut into windows; each is read from an empty cache, and every
/// token but a window's first is predicted. Perplexity is e to the mean negative
/// log-likelihood.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette eval model.briq --text book.txt --window 512 --json
  briquette eval model.briq --text book.txt --tokens 4096     (its beginning only)
  cat *.txt | briquette eval model.briq --text -")]
pub(crate) struct Args {
    /// The briquette
    file: PathBuf,
    /// A UTF-8 text file; - reads standard input
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Tokens per window
    #[arg(long, default_value_t = 512, value_name = "N", allow_hyphen_values = true, value_parser = numbers::count::<usize>)]
    window: usize,
    /// Read only the first N tokens of the text
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = numbers::count::<usize>)]
    tokens: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    session: OneSession,
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let mut file = args.session.execution.open(&args.file)?;
    let (blob, storage) = file.parts()?;
    let mut ids = tokens(args, &TextModel::new(&blob)?)?;
    ids.truncate(args.tokens.unwrap_or(usize::MAX));
    if args.window < 2 || ids.len() < 2 {
        return Err(CommandError::Refused(
            "at least two tokens are needed to predict one".into(),
        ));
    }
    let vocab = blob.manifest().config.vocab_size as usize;
    let packed = PlanOptions::packed(blob.manifest());
    let window = u32::try_from(args.window.min(ids.len())).unwrap_or(u32::MAX);
    let options = PlanOptions {
        context: window,
        logits: packed.batch,
        expert_slots: args.session.execution.expert_slots(),
        ..packed
    };
    let mut host = args.session.host();
    let mut executor = host.executor(blob, storage, options)?;
    let Read {
        sum,
        predicted,
        seconds,
    } = read(&mut *executor, &ids, args.window, vocab)?;
    let mean = sum / predicted as f64;
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = json!({
            "perplexity": mean.exp(),
            "mean_negative_log_likelihood": mean,
            "tokens": ids.len(),
            "predicted": predicted,
            "window": args.window,
            "seconds": seconds,
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(
            out,
            "perplexity {:.4} over {predicted} tokens in windows of {}, {:.0} tokens/s",
            mean.exp(),
            args.window,
            ids.len() as f64 / seconds,
        )?;
    }
    Ok(())
}

/// What reading a text gave.
struct Read {
    /// Negative log-likelihoods of all predicted tokens.
    sum: f64,
    predicted: u64,
    seconds: f64,
}

fn read(
    executor: &mut dyn Executor<'_>,
    ids: &[u32],
    window: usize,
    vocab: usize,
) -> Result<Read, CommandError> {
    let start = Instant::now();
    let bar = terminal::progress(ids.len() as u64, "Reading");
    let (mut sum, mut predicted) = (0.0, 0_u64);
    let mut row = vec![0.0; vocab];
    for window in ids.chunks(window) {
        if terminal::interrupted() {
            return Err(CommandError::Interrupted);
        }
        executor.truncate(0);
        executor.score(window, &mut row, &mut |i, logits| {
            if let Some(next) = window.get(i + 1) {
                sum -= log_likelihood(logits, *next);
                predicted += 1;
            }
            bar.inc(1);
        })?;
    }
    bar.finish_and_clear();
    Ok(Read {
        sum,
        predicted,
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn tokens(args: &Args, text: &TextModel<'_>) -> Result<Vec<u32>, CommandError> {
    let content = input::text_of(&args.text)?;
    let options = EncodeOptions {
        add_special: false,
        parse_special: false,
    };
    Ok(text.encode(&content, options)?)
}

/// Natural logarithm of the probability of `token`, in double precision.
fn log_likelihood(logits: &[f32], token: u32) -> f64 {
    let max = logits
        .iter()
        .fold(f64::NEG_INFINITY, |max, v| max.max((*v).into()));
    let sum: f64 = logits.iter().map(|v| (f64::from(*v) - max).exp()).sum();
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NAN);
    f64::from(logit) - max - sum.ln()
}
