//! Prompts and answers over a line.

use std::io::{self, BufRead, Write};

use anstyle::AnsiColor;
use briquette_engine::text::{Part, Utf8Stream};
use briquette_protocol::{Prompt, StopReason, Work};
use serde_json::json;

use super::super::input::{self, Asked};
use super::super::{CommandError, numbers};
use crate::chat::{Live, Written};
use crate::device::Client;
use crate::support::machine::clock_seed;
use crate::support::terminal;

/// What to ask, and how it is to be answered.
#[derive(Debug, clap::Args)]
pub(crate) struct TalkArgs {
    /// What to answer; standard input is joined to it [default: standard input,
    /// or a chat on a terminal]
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Tokens to generate at most
    #[arg(short, default_value_t = 512, value_name = "N", allow_hyphen_values = true, value_parser = numbers::count::<u32>)]
    n: u32,
    /// Temperature; 0 takes the most likely token always
    #[arg(long, default_value_t = 0.0, value_name = "T", allow_hyphen_values = true, value_parser = numbers::temperature)]
    temp: f32,
    /// Tokens that the model may think; then it must answer
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = numbers::count::<u32>)]
    think_budget: Option<u32>,
    /// Make sure of one thought and one answer: <think>…</think><answer>…</answer>
    #[arg(long)]
    guarantee: bool,
    /// Seed of the generator [default: from the clock if --temp is not 0]
    #[arg(long, value_name = "S", allow_hyphen_values = true, value_parser = numbers::seed)]
    seed: Option<u64>,
    /// Print one JSON object instead of streaming
    #[arg(long)]
    pub(crate) json: bool,
}

/// Lets the device answer, once or as a chat.
pub(crate) fn talk(client: &mut Client, args: &TalkArgs) -> Result<(), CommandError> {
    match input::prompt(args.prompt.as_deref(), !args.json)? {
        Asked::Once(prompt) => once(client, args, &prompt),
        Asked::Chat => chat(client, args),
    }
}

/// The answer to a prompt.
struct Answer {
    written: Written,
    stop: StopReason,
    seed: u64,
    /// What it has cost.
    prefill: Work,
    decode: Work,
    ticks_per_second: u32,
}

fn once(client: &mut Client, args: &TalkArgs, prompt: &str) -> Result<(), CommandError> {
    if prompt.trim().is_empty() {
        return Err(CommandError::EmptyPrompt);
    }
    let answer = ask(client, args, prompt)?;
    if args.json {
        print_json(client, &answer)?;
    } else {
        writeln!(io::stdout())?;
        print_costs(&answer);
    }
    match answer.stop {
        StopReason::Stopped => Err(CommandError::Interrupted),
        _ => Ok(()),
    }
}

fn chat(client: &mut Client, args: &TalkArgs) -> Result<(), CommandError> {
    let info = client.info();
    terminal::tell_line!(
        "{} on {}; an empty line ends the chat",
        info.model,
        info.target
    );
    let style = terminal::style(AnsiColor::Green, &io::stderr());
    let mut lines = io::stdin().lock().lines();
    loop {
        terminal::tell!("{style}> {style:#}");
        let Some(line) = lines.next().transpose()? else {
            terminal::tell_line!();
            return Ok(());
        };
        if line.trim().is_empty() {
            return Ok(());
        }
        terminal::clear_interrupt();
        match ask(client, args, &line) {
            Ok(answer) => {
                writeln!(io::stdout())?;
                print_costs(&answer);
            }
            // The device is still there: the next prompt may be a better one.
            Err(CommandError::Device(error)) if error.is_about_the_prompt() => {
                terminal::show_error(&error);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Lets the device answer; shows the text as it comes unless JSON is wanted.
fn ask(client: &mut Client, args: &TalkArgs, text: &str) -> Result<Answer, CommandError> {
    let sampled = args.temp > 0.0;
    let seed = args
        .seed
        .unwrap_or_else(|| if sampled { clock_seed() } else { 0 });
    let prompt = Prompt {
        text,
        tokens: args.n,
        thinking: args.think_budget,
        guarantee: args.guarantee,
        temperature: args.temp,
        seed,
    };
    let before = client.statistics()?;
    let live = Live::new(!args.json);
    let mut reader = Reader::new(&live);
    // Without a reader the device may stop.
    let ends = || live.is_lost() || terminal::interrupted();
    let stop = client.answer(&prompt, &ends, |part, bytes| reader.push(part, bytes));
    reader.finish();
    let written = live.finish()?;
    let stop = stop?;
    let after = client.statistics()?;
    Ok(Answer {
        written,
        stop,
        seed,
        prefill: after.prefill - before.prefill,
        decode: after.decode - before.decode,
        ticks_per_second: after.ticks_per_second,
    })
}

/// Turns the bytes of an answer into text.
struct Reader<'l> {
    live: &'l Live,
    utf8: Utf8Stream,
    part: Part,
}

impl<'l> Reader<'l> {
    fn new(live: &'l Live) -> Self {
        Self {
            live,
            utf8: Utf8Stream::new(),
            part: Part::Outside,
        }
    }

    fn push(&mut self, part: briquette_protocol::Part, bytes: &[u8]) {
        let part = match part {
            briquette_protocol::Part::Thinking => Part::Thinking,
            briquette_protocol::Part::Answer => Part::Answer,
        };
        if part != self.part {
            self.finish();
            self.part = part;
        }
        self.utf8
            .push(bytes, |text| self.live.push(self.part, text));
    }

    /// Ends the text of the part.
    fn finish(&mut self) {
        self.utf8.finish(|text| self.live.push(self.part, text));
    }
}

fn print_json(client: &Client, answer: &Answer) -> Result<(), CommandError> {
    let seconds = |work: Work| super::seconds_of(work, answer.ticks_per_second);
    let report = json!({
        "model": client.info().model,
        "thinking": answer.written.thinking.trim(),
        "text": answer.written.text(),
        "stop": stop_name(answer.stop),
        "seed": answer.seed,
        "prompt_tokens": answer.prefill.tokens,
        "decoded_tokens": answer.decode.tokens,
        "prefill_ticks": answer.prefill.ticks,
        "decode_ticks": answer.decode.ticks,
        "ticks_per_second": answer.ticks_per_second,
        "prefill_seconds": seconds(answer.prefill),
        "decode_seconds": seconds(answer.decode),
    });
    writeln!(io::stdout(), "{report}")?;
    Ok(())
}

/// The name in `--json` reports, as `briquette run` has it.
const fn stop_name(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfText => "end_of_text",
        StopReason::Length => "length",
        StopReason::ContextFull => "context_full",
        StopReason::Stopped => "interrupted",
    }
}

fn print_costs(answer: &Answer) {
    let rate = |work: Work| match super::seconds_of(work, answer.ticks_per_second) {
        Some(seconds) => format!(" at {:.1}/s", work.tokens as f64 / seconds),
        None => String::new(),
    };
    terminal::tell_line!(
        "[{} prompt tokens{}, {} tokens decoded{}{}]",
        answer.prefill.tokens,
        rate(answer.prefill),
        answer.decode.tokens,
        rate(answer.decode),
        match answer.stop {
            StopReason::EndOfText => "",
            StopReason::Length => "; stopped at -n",
            StopReason::ContextFull => "; the context is full: pack with a longer --context",
            StopReason::Stopped => "; interrupted",
        }
    );
}
