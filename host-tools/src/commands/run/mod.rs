//! `briquette run`: let a model answer.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anstyle::AnsiColor;
use briquette_engine::Executor;
use briquette_engine::cpu::PlanOptions;
use briquette_engine::text::{Sampler, SamplerOptions};
use serde_json::json;

use super::{CommandError, Execution};
use crate::chat::Message;
use crate::draft::Draft;
use crate::executor::{Backend, HOST_BATCH, with_executor};
use crate::files;
use crate::generate::{Answer, Conversation, Limits, Stop};
use crate::screen::{Screen, Written};
use crate::stored::{Briquette, hit_rate};
use crate::terminal;
use crate::text::TextModel;

/// Answers a prompt, or chats when there is none and this is a terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette run model.briq -p \"Why is the sky blue?\"
  briquette run model.briq -p \"Once upon a time\" --raw -n 64 --temp 0.8 --seed 7
  echo \"What is 2 + 2?\" | briquette run model.briq --json
  briquette run model.briq -p \"How many r in strawberry?\" --think-budget 200
  briquette run model.briq --system \"You are terse.\" --prompt-cache terse.cache -p \"Why?\"
  briquette run model.briq -p \"Hello\" --expert-slots 32
  briquette run v3.briq -p \"Hello\" --draft mtp
  briquette run model.briq            (a chat; an empty line or Ctrl-D ends it)

What stands between <think> and </think> goes to stderr, the answer to stdout.
The same seed gives the same text on every machine.")]
pub(crate) struct Args {
    /// The briquette
    file: PathBuf,
    /// What to answer [default: standard input, or a chat on a terminal]
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    /// What the model is told first
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tokens to generate at most
    #[arg(short, default_value_t = 512, value_name = "N")]
    n: usize,
    /// Continue the prompt as it stands, without the chat template
    #[arg(long)]
    raw: bool,
    /// Temperature; 0 takes the most likely token always
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    temp: f32,
    /// Sample from the K most likely tokens; 0: all
    #[arg(long, default_value_t = 0, value_name = "K")]
    top_k: u32,
    /// Sample from the most likely tokens of this probability together
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    top_p: f32,
    /// Sample from tokens at least this likely compared to the best
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    min_p: f32,
    /// Make recent tokens less likely; 1: off
    #[arg(long, default_value_t = 1.0, value_name = "F")]
    repeat_penalty: f32,
    /// Recent tokens that --repeat-penalty looks at
    #[arg(long, default_value_t = 64, value_name = "N")]
    repeat_last: usize,
    /// Tokens that the model may think; then it must answer
    #[arg(long, value_name = "N")]
    think_budget: Option<u32>,
    /// Make sure of one thought and one answer: <think>…</think><answer>…</answer>
    #[arg(long)]
    guarantee: bool,
    /// Keep the first prompt's cache in FILE: made if missing, else read, so that
    /// what a later prompt has in common with it need not be computed
    #[arg(long, value_name = "FILE")]
    prompt_cache: Option<PathBuf>,
    /// Tokens to guess ahead: N or ngram:N from the text so far, mtp:N with the layer
    /// for multi-token prediction (`pack --mtp`), 0 for none. Changes the speed, never
    /// the answer
    #[arg(long, default_value = "4", value_name = "[KIND:]N")]
    draft: Draft,
    /// Seed of the generator [default: from the clock if --temp is not 0]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Print one JSON object instead of streaming
    #[arg(long)]
    json: bool,
    /// Keep N experts in memory and read the others from the file when they are
    /// needed, instead of mapping it: for models larger than RAM
    #[arg(long, value_name = "N", conflicts_with = "pages", value_parser = clap::value_parser!(u32).range(1..))]
    expert_slots: Option<u32>,
    #[command(flatten)]
    execution: Execution,
}

impl Args {
    /// Answers `prompt` as if nothing else had been said.
    pub(crate) fn with_defaults(file: PathBuf, prompt: String) -> Self {
        Self {
            file,
            prompt: Some(prompt),
            system: None,
            n: 128,
            raw: false,
            temp: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last: 64,
            think_budget: None,
            guarantee: false,
            prompt_cache: None,
            draft: Draft::NONE,
            seed: None,
            json: false,
            expert_slots: None,
            execution: Execution::default(),
        }
    }

    fn sampler_options(&self) -> SamplerOptions {
        SamplerOptions {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repeat_penalty,
            seed: self.seed.unwrap_or_else(super::clock_seed),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let mut file = Briquette::open(&args.file, args.execution.pages, args.expert_slots)?;
    let (blob, storage) = file.parts()?;
    let text = TextModel::new(&blob)?;
    let mut packed = PlanOptions::packed(blob.manifest());
    if args.execution.backend == Backend::Cpu {
        packed.batch = packed.batch.max(HOST_BATCH);
    }
    let options = PlanOptions {
        context: args.execution.context.unwrap_or(packed.context),
        // Every token of a draft that is tried has logits of its own.
        logits: (args.draft.limit() as u32)
            .saturating_add(1)
            .min(packed.batch),
        mtp: matches!(args.draft, Draft::Mtp(_)),
        expert_slots: args.expert_slots.unwrap_or(0),
        ..packed
    };
    if options.mtp && args.execution.backend != Backend::Cpu {
        let what = "`--draft mtp` works with the `cpu` backend only";
        return Err(CommandError::Refused(what.into()));
    }
    let place = args.execution.place(options);
    with_executor(&place, blob.clone(), storage, |executor| {
        talk(args, &text, executor)
    })?
}

/// Answers one prompt, or what a person types.
fn talk(
    args: &Args,
    text: &TextModel<'_>,
    executor: &mut dyn Executor<'_>,
) -> Result<(), CommandError> {
    let options = args.sampler_options();
    let mut talk = Talk {
        args,
        text,
        conversation: Conversation::new(executor),
        sampler: Sampler::new(options),
        seed: options.seed,
    };
    talk.read_prompt_cache()?;
    if !args.raw && !text.has_chat_template() {
        tracing::warn!("the model has no chat template: the prompt is continued as it stands");
    }
    match &args.prompt {
        Some(prompt) => talk.once(prompt),
        None if io::stdin().is_terminal() && !args.json => talk.chat(),
        None => {
            let mut prompt = String::new();
            io::stdin().read_to_string(&mut prompt)?;
            talk.once(prompt.trim_end_matches('\n'))
        }
    }
}

/// A conversation with everything that it needs.
struct Talk<'s, 't, 'a> {
    args: &'s Args,
    text: &'s TextModel<'t>,
    conversation: Conversation<'s, 'a>,
    sampler: Sampler,
    seed: u64,
}

impl Talk<'_, '_, '_> {
    /// Takes in what an earlier run has left.
    fn read_prompt_cache(&mut self) -> Result<(), CommandError> {
        let Some(path) = &self.args.prompt_cache else {
            return Ok(());
        };
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(file_error(path, error)),
            Ok(bytes) => match self.conversation.restore(&bytes) {
                Ok(_) => Ok(()),
                Err(error) => Err(CommandError::Content {
                    path: path.clone(),
                    what: format!("{error}; name another file, or remove it to make it anew"),
                }),
            },
        }
    }

    /// Leaves the cache of `prompt` to later runs, unless an earlier one has.
    fn write_prompt_cache(&self, prompt: &[u32]) -> Result<(), CommandError> {
        match &self.args.prompt_cache {
            Some(path) if !path.exists() => {
                let snapshot = self.conversation.snapshot(prompt.len());
                let bytes = snapshot.map_err(|error| CommandError::Refused(error.to_string()))?;
                files::write_whole(path, &bytes).map_err(|error| file_error(path, error))
            }
            _ => Ok(()),
        }
    }

    /// Answers one prompt.
    fn once(&mut self, prompt: &str) -> Result<(), CommandError> {
        let tokens = if self.args.raw {
            self.text.encode_raw(prompt)?
        } else {
            let mut messages = self.opening();
            messages.push(message("user", prompt));
            self.text.encode_chat(&messages)?
        };
        if tokens.is_empty() {
            return Err(CommandError::Refused(
                "the prompt is empty; say something with -p TEXT".into(),
            ));
        }
        let (answer, written) = self.answer(&tokens, !self.args.json)?;
        if self.args.json {
            self.print_json(&answer, &written)?;
        } else {
            println!();
            print_timing(&answer);
        }
        Ok(())
    }

    /// Reads a line, answers, and so on.
    fn chat(&mut self) -> Result<(), CommandError> {
        let style = terminal::style(AnsiColor::Green, io::stderr().is_terminal());
        let mut messages = self.opening();
        let mut lines = io::stdin().lock().lines();
        loop {
            eprint!("{style}> {style:#}");
            let Some(line) = lines.next().transpose()? else {
                eprintln!();
                return Ok(());
            };
            if line.trim().is_empty() {
                return Ok(());
            }
            messages.push(message("user", &line));
            terminal::clear_interrupt();
            let tokens = self.text.encode_chat(&messages)?;
            let (answer, written) = self.answer(&tokens, true)?;
            println!();
            print_timing(&answer);
            messages.push(message("assistant", &written.answer));
            if answer.stop == Stop::ContextFull {
                return Ok(());
            }
        }
    }

    fn opening(&self) -> Vec<Message> {
        let system = self.args.system.iter();
        system.map(|text| message("system", text)).collect()
    }

    /// Generates; returns the answer and its text, shown meanwhile if wanted:
    /// the thought on stderr, so that only the answer goes down a pipe.
    fn answer(&mut self, tokens: &[u32], show: bool) -> Result<(Answer, Written), CommandError> {
        let mut written = Written::default();
        let mut failed = None;
        let limits = Limits {
            tokens: self.args.n,
            repeat_last: self.args.repeat_last,
            thinking: self.args.think_budget,
            guarantee: self.args.guarantee,
            draft: self.args.draft,
            interrupted: &terminal::interrupted,
        };
        let mut screen = Screen::new();
        let answer = self.conversation.answer(
            tokens,
            self.text,
            &mut self.sampler,
            &limits,
            |part, text| {
                written.push(part, text);
                if show {
                    failed = failed.take().or(screen.show(part, text).err());
                }
            },
        )?;
        self.write_prompt_cache(tokens)?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok((answer, written)),
        }
    }

    fn print_json(&self, answer: &Answer, written: &Written) -> Result<(), CommandError> {
        let report = json!({
            "thinking": written.thinking.trim(),
            "text": written.answer.trim_start(),
            "tokens": answer.tokens,
            "stop": answer.stop.name(),
            "seed": self.seed,
            "prompt_tokens": answer.prompt_tokens,
            "prefill_seconds": answer.prefill.as_secs_f64(),
            "decode_seconds": answer.decode.as_secs_f64(),
            "decode_passes": answer.passes,
            "draft": self.args.draft.name(),
            "drafts_proposed": answer.drafted,
            "drafts_accepted": answer.accepted,
            "expert_hits": answer.storage.hits,
            "expert_misses": answer.storage.misses,
            "storage_bytes": answer.storage.bytes,
        });
        writeln!(io::stdout(), "{report}")?;
        Ok(())
    }
}

fn file_error(path: &Path, source: io::Error) -> CommandError {
    CommandError::File {
        path: path.to_owned(),
        source,
    }
}

fn message(role: &'static str, content: &str) -> Message {
    Message {
        role,
        content: content.to_owned(),
    }
}

fn print_timing(answer: &Answer) {
    let rate = |tokens: usize, seconds: f64| tokens as f64 / seconds.max(1e-9);
    let (prefill, decode) = (answer.prefill.as_secs_f64(), answer.decode.as_secs_f64());
    // The first token comes out of the prefill.
    let decoded = answer.tokens.len().saturating_sub(1);
    eprintln!(
        "[{} prompt tokens at {:.0}/s, {} tokens at {:.0}/s{}]",
        answer.prompt_tokens,
        rate(answer.prompt_tokens, prefill),
        answer.tokens.len(),
        rate(decoded, decode),
        match answer.stop {
            Stop::EndOfText => "",
            Stop::Length => "; stopped at -n",
            Stop::ContextFull => "; the context is full: see --context",
            Stop::Interrupted => "; interrupted",
        }
    );
    if answer.drafted > 0 {
        eprintln!(
            "[{} of {} guessed tokens came true]",
            answer.accepted, answer.drafted
        );
    }
    if let Some(rate) = hit_rate(&answer.storage) {
        let read = terminal::bytes(answer.storage.bytes);
        eprintln!("[{rate:.1} % of the experts were in memory, {read} read from the file]");
    }
}
