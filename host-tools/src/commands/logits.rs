//! `briquette logits`: teacher-forced logits, for comparing with others.

use std::path::PathBuf;

use briquette_engine::PlanOptions;
use safetensors::tensor::{Dtype, TensorView};

use super::{CommandError, OneSession};
use crate::support::{files, terminal};

/// Feeds token ids to a model and writes every token's logits.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  echo '[1, 504, 3575]' > ids.json
  briquette logits model.briq --ids ids.json --out logits.safetensors

The output holds one tensor, `logits`: f32 [tokens, vocabulary].")]
pub(crate) struct Args {
    /// The briquette
    file: PathBuf,
    /// A JSON list of token ids
    #[arg(long, value_name = "IDS.json")]
    ids: PathBuf,
    /// Where to write the logits
    #[arg(long, value_name = "OUT.safetensors")]
    out: PathBuf,
    #[command(flatten)]
    session: OneSession,
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    files::check_output_beside(&args.out, &[&args.ids, &args.file])?;
    let ids = read_ids(&args.ids)?;
    let mut file = args.session.execution.open(&args.file)?;
    let (blob, storage) = file.parts()?;
    let vocab = blob.manifest().config.vocab_size as usize;
    let packed = PlanOptions::packed(blob.manifest());
    let needed = u32::try_from(ids.len()).unwrap_or(u32::MAX).max(1);
    let options = PlanOptions {
        context: args.session.context.unwrap_or(needed),
        logits: packed.batch.min(needed),
        expert_slots: args.session.execution.expert_slots(),
        ..packed
    };
    let mut host = args.session.host();
    let mut executor = host.executor(blob, storage, options)?;

    let bar = terminal::progress(ids.len() as u64, "Scoring");
    let mut logits: Vec<u8> = Vec::with_capacity(ids.len() * vocab * 4);
    let mut row = vec![0.0; vocab];
    executor.score(&ids, &mut row, &mut |_, row| {
        logits.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let view = TensorView::new(Dtype::F32, vec![ids.len(), vocab], &logits)
        .map_err(|error| CommandError::Refused(error.to_string()))?;
    let bytes = safetensors::serialize([("logits", view)], None)
        .map_err(|error| CommandError::Refused(error.to_string()))?;
    files::write_whole(&args.out, &bytes).map_err(|source| CommandError::File {
        path: args.out.clone(),
        source,
    })
}

fn read_ids(path: &PathBuf) -> Result<Vec<u32>, CommandError> {
    let text = std::fs::read_to_string(path).map_err(|source| CommandError::File {
        path: path.clone(),
        source,
    })?;
    let ids: Vec<u32> = serde_json::from_str(&text).map_err(|error| CommandError::Content {
        path: path.clone(),
        what: format!("not a JSON list of token ids: {error}"),
    })?;
    if ids.is_empty() {
        return Err(CommandError::Content {
            path: path.clone(),
            what: "the list of token ids is empty".into(),
        });
    }
    Ok(ids)
}
