//! What is reported in addition to the answer.

use std::io;

use anstyle::AnsiColor;
use serde_json::{Value, json};

use crate::chat::{Answer, Prompt, Written};
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
