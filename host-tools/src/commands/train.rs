//! `briquette train`: a model from nothing.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use briquette_engine::quant::KvFormat;
use burn::tensor::backend::AutodiffBackend;
use serde_json::json;

use super::CommandError;
use super::execution::at_most_cores;
use crate::pack::WeightFormat;
use crate::support::machine::cores;
use crate::support::terminal;
use crate::train::{
    Evaluation, EvaluationOptions, Recipe, Score, StageName, TaskRecipe, TrainError, Training,
    TrainingBackend,
};

/// Trains a small reasoning model: by imitation, then by reward.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette train sft  --recipe models/sentry/recipe.toml --out run
  briquette train grpo --recipe models/sentry/recipe.toml --out run
  briquette train eval --recipe models/sentry/recipe.toml --out run
  briquette pack run/grpo -o sentry.briq --weights q4

`sft` leaves a Hugging Face folder in OUT/base, `grpo` one in OUT/grpo, each with
its curves beside it (.csv, .svg). Ctrl-C saves what was learnt; --resume continues.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Learn by imitation, from nothing
    Sft(SftArgs),
    /// Learn by reward, from the result of `sft`
    Grpo(StageArgs),
    /// Measure every finished stage on problems never seen in training
    Eval(EvalArgs),
}

#[derive(Debug, clap::Args)]
struct Common {
    /// What is trained, and how
    #[arg(long, value_name = "FILE.toml")]
    recipe: PathBuf,
    /// Where the results go
    #[arg(long, default_value = "run", value_name = "DIR")]
    out: PathBuf,
    /// Use another seed than the recipe's
    #[arg(long, value_name = "S", allow_hyphen_values = true, value_parser = super::numbers::seed)]
    seed: Option<u64>,
    /// Where training runs [default: cuda if this build has it and there is a GPU]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Threads to work with; they never change the result [default: all cores]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<NonZeroUsize>,
}

/// Where training runs. The engine that answers always runs on the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Backend {
    /// This machine's processor
    Cpu,
    /// An NVIDIA GPU; needs a build with `--features cuda`
    Cuda,
}

#[derive(Debug, clap::Args)]
struct StageArgs {
    #[command(flatten)]
    common: Common,
    /// Continue where an earlier run was stopped
    #[arg(long)]
    resume: bool,
}

#[derive(Debug, clap::Args)]
struct SftArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// Continue from the result with more of the same: what reward must beat
    #[arg(long)]
    control: bool,
}

#[derive(Debug, clap::Args)]
struct EvalArgs {
    #[command(flatten)]
    common: Common,
    /// A checkpoint to measure instead of the stages in --out
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Weights of the briquette that answers
    #[arg(long, value_enum, default_value_t = WeightFormat::F32)]
    weights: WeightFormat,
    /// Problems of each number of sensors
    #[arg(long, default_value_t = 500, value_name = "N", allow_hyphen_values = true, value_parser = super::numbers::count::<usize>)]
    problems: usize,
    /// Samples of each problem at temperature 1
    #[arg(long, default_value_t = 8, value_name = "N", allow_hyphen_values = true, value_parser = super::numbers::count::<usize>)]
    samples: usize,
    /// Hold every completion to one thought and one answer
    #[arg(long)]
    guarantee: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Common {
    fn training(&self) -> Result<Training, CommandError> {
        let mut recipe = Recipe::read(&self.recipe).map_err(TrainError::from)?;
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        Ok(Training::new(recipe, &self.out, self.threads())?)
    }

    fn threads(&self) -> NonZeroUsize {
        self.threads.map_or_else(cores, at_most_cores)
    }
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let common = match &args.verb {
        Verb::Sft(sft) => &sft.stage.common,
        Verb::Grpo(stage) => &stage.common,
        Verb::Eval(eval) => return evaluate(eval),
    };
    if uses_cuda(common.backend)? {
        #[cfg(feature = "cuda")]
        return train::<crate::train::CudaTrainingBackend>(args);
    }
    train::<TrainingBackend>(args)
}

/// Whether to train on a GPU.
#[cfg(feature = "cuda")]
fn uses_cuda(wanted: Option<Backend>) -> Result<bool, CommandError> {
    match (wanted, crate::run::cuda::probe()) {
        (Some(Backend::Cpu), _) | (None, Err(_)) => Ok(false),
        (_, Ok(_)) => Ok(true),
        (Some(Backend::Cuda), Err(error)) => Err(CommandError::Refused(error.to_string())),
    }
}

/// Whether to train on a GPU: this build cannot.
#[cfg(not(feature = "cuda"))]
fn uses_cuda(wanted: Option<Backend>) -> Result<bool, CommandError> {
    if wanted == Some(Backend::Cuda) {
        let what = "this build has no CUDA; make one with: cargo build --release --features cuda";
        return Err(CommandError::Refused(what.into()));
    }
    Ok(false)
}

fn train<B: AutodiffBackend>(args: &Args) -> Result<(), CommandError> {
    match &args.verb {
        Verb::Sft(sft) => {
            let training = sft.stage.common.training()?;
            let recipe = training.recipe();
            let resume = sft.stage.resume;
            if sft.control {
                let steps = recipe.control.as_ref().map_or(0, |control| control.steps);
                follow(&training, StageName::Control, steps, |watch| {
                    training.control::<B>(resume, watch)
                })
            } else {
                follow(&training, StageName::Base, recipe.sft.steps, |watch| {
                    training.sft::<B>(resume, watch)
                })
            }
        }
        Verb::Grpo(stage) => {
            let training = stage.common.training()?;
            let steps = training.recipe().grpo.as_ref().map_or(0, |grpo| grpo.steps);
            follow(&training, StageName::Grpo, steps, |watch| {
                training.grpo::<B>(stage.resume, watch)
            })
        }
        Verb::Eval(eval) => evaluate(eval),
    }
}

type Watch<'w> = &'w mut dyn FnMut(usize, &[f32]) -> bool;

/// Shows the progress of a stage, and stops it at Ctrl-C.
fn follow(
    training: &Training,
    stage: StageName,
    steps: usize,
    work: impl FnOnce(Watch<'_>) -> Result<(), TrainError>,
) -> Result<(), CommandError> {
    let bar = terminal::progress(steps as u64, "Training");
    let what = if stage == StageName::Grpo {
        "reward"
    } else {
        "loss"
    };
    let result = work(&mut |done, row| {
        bar.set_position(done as u64);
        let first = row.first().copied().unwrap_or(0.0);
        bar.set_message(format!("{what} {first:.3}"));
        !terminal::interrupted()
    });
    bar.finish_and_clear();
    result?;
    terminal::tell_line!("Wrote {}", training.folder(stage).display());
    Ok(())
}

fn evaluate(args: &EvalArgs) -> Result<(), CommandError> {
    let training = args.common.training()?;
    let TaskRecipe::Sentry { .. } = training.recipe().task else {
        return Err(CommandError::Refused(
            "only the task `sentry` has answers to check; for text use `briquette eval`".into(),
        ));
    };
    let models: Vec<PathBuf> = match &args.model {
        Some(model) => vec![model.clone()],
        None => {
            let stages = [StageName::Base, StageName::Control, StageName::Grpo];
            let folders = stages.map(|stage| training.folder(stage));
            let there = |folder: &PathBuf| folder.join("model.safetensors").is_file();
            folders.into_iter().filter(there).collect()
        }
    };
    if models.is_empty() {
        return Err(CommandError::Refused(format!(
            "there is nothing to measure in {}; train first, or name a checkpoint with --model",
            args.common.out.display()
        )));
    }
    let grpo = training.recipe().grpo.as_ref();
    let options = EvaluationOptions {
        sensors: vec![2, 3, 4, 5],
        problems: args.problems,
        samples: args.samples,
        max_tokens: grpo.map_or(64, |grpo| grpo.max_tokens),
        weights: args.weights,
        kv: if args.weights == WeightFormat::F32 {
            KvFormat::F32
        } else {
            KvFormat::Q8
        },
        guarantee: args.guarantee,
        seed: training.recipe().seed,
        threads: args.common.threads(),
    };
    let mut reports = Vec::new();
    for model in &models {
        let evaluation = Evaluation::run(model, &options)?;
        if !args.json {
            show(model, &evaluation)?;
        }
        reports.push(json!({ "model": model.to_string_lossy(), "scores": evaluation.scores }));
    }
    if args.json {
        writeln!(std::io::stdout(), "{}", json!({ "models": reports }))?;
    }
    Ok(())
}

fn show(model: &Path, evaluation: &Evaluation) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", model.display())?;
    let percent = |fraction: f64| format!("{:.1} %", 100.0 * fraction);
    writeln!(
        out,
        "  sensors  greedy  T=1     any of n  well-formed greedy  well-formed T=1  tokens"
    )?;
    for score in &evaluation.scores {
        let Score {
            sensors, tokens, ..
        } = score;
        writeln!(
            out,
            "  {sensors:<8} {:<7} {:<7} {:<9} {:<19} {:<16} {tokens:.1}",
            percent(score.greedy_right),
            percent(score.sampled_right),
            percent(score.any_right),
            percent(score.greedy_well_formed),
            percent(score.sampled_well_formed),
        )?;
    }
    Ok(())
}
