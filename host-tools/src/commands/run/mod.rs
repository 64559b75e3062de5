//! `briquette run`: let a model answer.

mod args;
mod report;
mod talk;

pub(crate) use args::Args;

use std::io;

use briquette_engine::Executor;
use briquette_engine::cpu::PlanOptions;

use super::input::{self, Asked};
use super::{CommandError, Execution};
use crate::chat::{Clock, Draft, TextModel};
use crate::run::{Backend, Briquette, HOST_BATCH};
use crate::support::files;
use talk::Talk;

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    answer(args, || input::prompt(args.prompt.as_deref(), !args.json))
}

/// Answers `prompt`, whatever comes through standard input.
pub(crate) fn answer_once(args: &Args, prompt: &str) -> Result<(), CommandError> {
    answer(args, || Ok(Asked::Once(prompt.to_owned())))
}

/// Asks what to answer once the model is known to be there, and answers it.
fn answer(
    args: &Args,
    ask: impl FnOnce() -> Result<Asked, CommandError>,
) -> Result<(), CommandError> {
    if let Some(cache) = &args.prompt_cache {
        files::check_output(cache)?;
    }
    let mut file = Briquette::open(&args.file, args.execution.pages, args.expert_slots)?;
    let (blob, storage) = file.parts()?;
    let clock = args.date.map_or(Clock::System, Clock::Day);
    let text = TextModel::new(&blob)?.with_clock(clock);
    let options = plan_options(args, PlanOptions::packed(blob.manifest()));
    let trained = blob.manifest().config.max_position_embeddings;
    Execution::warn_of_context(options.context, trained);
    if options.mtp && args.execution.backend != Backend::Cpu {
        let what = "`--draft mtp` works with the `cpu` backend only";
        return Err(CommandError::Refused(what.into()));
    }
    let asked = ask()?;
    let mut host = args.execution.host();
    let mut executor = host.executor(blob.clone(), storage, options)?;
    talk(args, asked, &text, &mut *executor)
}

fn plan_options(args: &Args, packed: PlanOptions) -> PlanOptions {
    let mut options = packed;
    if args.execution.backend == Backend::Cpu {
        options.batch = packed.batch.max(HOST_BATCH);
    }
    // Every token of a draft that is tried has logits of its own.
    options.logits = (args.draft.limit() as u32)
        .saturating_add(1)
        .min(options.batch);
    options.context = args.execution.context.unwrap_or(packed.context);
    options.mtp = matches!(args.draft, Draft::Mtp(_));
    options.expert_slots = args.expert_slots.unwrap_or(0);
    options
}

/// Answers one prompt, or what a person types.
fn talk(
    args: &Args,
    asked: Asked,
    text: &TextModel<'_>,
    executor: &mut dyn Executor<'_>,
) -> Result<(), CommandError> {
    if !args.raw && !text.has_chat_template() {
        tracing::warn!("the model has no chat template: the prompt is continued as it stands");
    }
    if args.think_budget.is_some() && !text.tag_rules().marks_thoughts() {
        tracing::warn!(
            "the model does not mark its thoughts: --think-budget counts only what it spells in <think> tags"
        );
    }
    let mut talk = Talk::new(args, text, executor);
    talk.read_prompt_cache()?;
    match asked {
        Asked::Once(prompt) => talk.once(&prompt),
        Asked::Chat => talk.chat(&mut io::stdin().lock()),
    }
}
