//! What a person is told beside the answer.

use std::io;

use anstyle::AnsiColor;
use serde_json::{Value, json};

use crate::chat::{Answer, Prompt, Stop, Written};
use crate::run::hit_rate;
use crate::support::terminal;

use super::args::Args;

/// The report of `--json`.
pub(super) fn to_json(
    args: &Args,
    seed: u64,
    prompt: &Prompt,
    answer: &Answer,
    written: &Written,
) -> Value {
    let mut report = json!({
        "thinking": written.thinking.trim(),
        "text": written.text(),
        "tokens": answer.tokens,
        "stop": answer.stop.name(),
        "seed": seed,
        "prompt_tokens": answer.prompt_tokens,
        "prefill_seconds": answer.prefill.as_secs_f64(),
        "decode_seconds": answer.decode.as_secs_f64(),
        "decode_passes": answer.passes,
        "draft": args.draft.name(),
        "drafts_proposed": answer.drafted,
        "drafts_accepted": answer.accepted,
        "expert_hits": answer.storage.hits,
        "expert_misses": answer.storage.misses,
        "storage_bytes": answer.storage.bytes,
    });
    if args.show_prompt {
        report["prompt"] = json!({ "text": prompt.text, "ids": prompt.ids });
    }
    report
}

/// Shows the prompt on stderr, as the model gets it.
pub(super) fn show_prompt(prompt: &Prompt) {
    let style = terminal::style(AnsiColor::Cyan, &io::stderr());
    terminal::tell_line!("{style}prompt:{style:#} {:?}", prompt.text);
    terminal::tell_line!("{style}ids:{style:#} {:?}", prompt.ids);
}

/// Tells how long the answer took, and why it ended.
pub(super) fn show_timing(answer: &Answer) {
    let rate = |tokens: usize, seconds: f64| tokens as f64 / seconds.max(1e-9);
    let (prefill, decode) = (answer.prefill.as_secs_f64(), answer.decode.as_secs_f64());
    // The first token comes out of the prefill.
    let decoded = answer.tokens.len().saturating_sub(1);
    terminal::tell_line!(
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
        terminal::tell_line!(
            "[{} of {} guessed tokens came true]",
            answer.accepted,
            answer.drafted
        );
    }
    if let Some(rate) = hit_rate(&answer.storage) {
        let read = terminal::bytes(answer.storage.bytes);
        terminal::tell_line!(
            "[{rate:.1} % of the experts were in memory, {read} read from the file]"
        );
    }
}
