//! How fast an answer came.

use crate::chat::{Answer, Stop};
use crate::run::hit_rate;
use crate::support::terminal;

/// Shows how long the answer took, and why it ended.
pub(crate) fn show_timing(answer: &Answer) {
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
            "[{} of {} drafted tokens were accepted]",
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
