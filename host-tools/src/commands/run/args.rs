//! What people type after `run`.

use std::path::PathBuf;

use briquette_engine::PlanOptions;
use briquette_engine::blob::Manifest;
use briquette_engine::text::{SamplerOptions, TagRules};

use super::super::{CommandError, OneSession, numbers, warn_of_context};
use crate::chat::{Day, Draft, Limits, TextModel};
use crate::run::Backend;
use crate::support::machine::clock_seed;

/// Answers a prompt, or chats when there is none and this is a terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette run model.briq -p \"Why is the sky blue?\"
  briquette run model.briq -p \"Once upon a time\" --raw -n 64 --temp 0.8 --seed 7
  echo \"What is 2 + 2?\" | briquette run model.briq --json
  cat report.txt | briquette run model.briq -p \"Sum this up:\"
  briquette run model.briq -p \"How many r in strawberry?\" --think-budget 200
  briquette run model.briq -p \"Hello\" -n 1 --show-prompt
  briquette run model.briq --system \"You are terse.\" --prompt-cache terse.cache -p \"Why?\"
  briquette run model.briq -p \"Hello\" --expert-slots 32
  briquette run v3.briq -p \"Hello\" --draft mtp
  briquette run model.briq            (a chat; an empty line or Ctrl-D ends it)

What a model thinks goes to stderr, its answer to stdout. Tags of reasoning are
obeyed where they are tokens of the model or its chat template mentions them;
otherwise, and with --raw, they are text. Names of control tokens in a prompt are
text too; with --raw they are these tokens.
The same seed gives the same text on every machine.")]
pub(crate) struct Args {
    /// The briquette
    pub(super) file: PathBuf,
    /// What to answer; standard input is joined to it [default: standard input,
    /// or a chat on a terminal]
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) prompt: Option<String>,
    /// What the model is told first
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) system: Option<String>,
    /// Tokens to generate at most
    #[arg(short, default_value_t = Limits::default().tokens, value_name = "N", allow_hyphen_values = true, value_parser = numbers::count::<usize>)]
    pub(super) n: usize,
    /// Continue the prompt as it stands, without the chat template
    #[arg(long)]
    pub(super) raw: bool,
    /// Temperature; 0 takes the most likely token always
    #[arg(long, default_value_t = SamplerOptions::default().temperature, value_name = "T", allow_hyphen_values = true, value_parser = numbers::temperature)]
    pub(super) temp: f32,
    /// Sample from the K most likely tokens; 0: all
    #[arg(long, default_value_t = SamplerOptions::default().top_k, value_name = "K", allow_hyphen_values = true, value_parser = numbers::count::<u32>)]
    pub(super) top_k: u32,
    /// Sample from the most likely tokens of this probability together
    #[arg(long, default_value_t = SamplerOptions::default().top_p, value_name = "P", allow_hyphen_values = true, value_parser = numbers::probability)]
    pub(super) top_p: f32,
    /// Sample from tokens at least this likely compared to the best
    #[arg(long, default_value_t = SamplerOptions::default().min_p, value_name = "P", allow_hyphen_values = true, value_parser = numbers::probability)]
    pub(super) min_p: f32,
    /// Make recent tokens less likely; 1: off
    #[arg(long, default_value_t = SamplerOptions::default().repetition_penalty, value_name = "F", allow_hyphen_values = true, value_parser = numbers::penalty)]
    pub(super) repeat_penalty: f32,
    /// Recent tokens that --repeat-penalty looks at
    #[arg(long, default_value_t = Limits::default().repeat_last, value_name = "N", allow_hyphen_values = true, value_parser = numbers::count::<usize>)]
    pub(super) repeat_last: usize,
    /// Tokens that the model may think; then it must answer
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = numbers::count::<u32>)]
    pub(super) think_budget: Option<u32>,
    /// Make sure of one thought and one answer: <think>…</think><answer>…</answer>
    #[arg(long)]
    pub(super) guarantee: bool,
    /// Keep the first prompt's cache in FILE: made if missing, else read, so that
    /// what a later prompt has in common with it need not be computed
    #[arg(long, value_name = "FILE")]
    pub(super) prompt_cache: Option<PathBuf>,
    /// Tokens to draft ahead: N or ngram:N from the text so far, mtp:N with the layer
    /// for multi-token prediction (`pack --mtp`), 0 for none. Changes the speed, never
    /// the answer
    #[arg(long, default_value_t = Draft::default(), value_name = "[KIND:]N")]
    pub(super) draft: Draft,
    /// Seed of the generator [default: from the clock if --temp is not 0]
    #[arg(long, value_name = "S", allow_hyphen_values = true, value_parser = numbers::seed)]
    pub(super) seed: Option<u64>,
    /// The date that the chat template sees [default: the computer's date]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(super) date: Option<Day>,
    /// Show the prompt as the model gets it: the rendered text and its token ids,
    /// on stderr or in the JSON object
    #[arg(long)]
    pub(super) show_prompt: bool,
    /// Print one JSON object instead of streaming
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) session: OneSession,
}

impl Args {
    /// The memory that the conversation is planned with.
    ///
    /// # Errors
    /// If the backend cannot make such drafts.
    pub(super) fn plan(&self, manifest: &Manifest<'_>) -> Result<PlanOptions, CommandError> {
        let packed = PlanOptions::packed(manifest);
        let backend = self.session.execution.backend;
        let options = PlanOptions {
            context: self.session.context.unwrap_or(packed.context),
            expert_slots: self.session.execution.expert_slots(),
            ..self.draft.plan(backend.plan(packed))
        };
        warn_of_context(options.context, manifest.config.max_position_embeddings);
        if options.mtp && backend != Backend::Cpu {
            let what = "`--draft mtp` works with the `cpu` backend only";
            return Err(CommandError::Refused(what.into()));
        }
        Ok(options)
    }

    /// Warns of what was asked for and the model does not have.
    pub(super) fn warn_of_lacks(&self, text: &TextModel<'_>) {
        if !self.raw && !text.has_chat_template() {
            tracing::warn!("the model has no chat template: the prompt is continued as it stands");
        }
        if self.think_budget.is_some() && !text.tag_rules().marks_thoughts() {
            tracing::warn!(
                "the model does not mark its thoughts: --think-budget counts only what it spells in <think> tags"
            );
        }
    }

    pub(super) fn sampler_options(&self) -> SamplerOptions {
        SamplerOptions {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repeat_penalty,
            seed: self.seed.unwrap_or_else(clock_seed),
        }
    }

    /// How tags are told from text: a plain continuation has none, unless they
    /// are asked for.
    pub(super) fn tag_rules(&self, text: &TextModel<'_>) -> TagRules {
        let budget = self.think_budget.is_some();
        let rules = if self.raw && !budget {
            TagRules::NONE
        } else {
            text.tag_rules()
        };
        rules.asked_for(self.guarantee, budget)
    }
}
