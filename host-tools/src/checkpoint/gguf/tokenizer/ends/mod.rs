//! Where the answer of a GGUF file's model ends.
//!
//! The keys name the end of text (`eos`), of a turn (`eot`) and of a message
//! (`eom`); but most files lack the last two, and llama.cpp finds such tokens
//! by their names (src/llama-vocab.cpp, `special_eog_ids`). So do we, with its
//! names and its exceptions, and one difference: `</s>` as an ordinary token
//! is a piece of HTML (Qwen's vocabularies have it) and ends nothing.
//!
//! Ids out of range never get here: [`GgufTokenizer`] refuses them by key.
//! Folders are another matter: `hf/tokens.rs`.

use briquette_engine::blob::MAX_STOP_TOKENS;

use super::GgufTokenizer;

/// Types of a token that mark it as more than text.
const MARKED: [i32; 2] = [super::spec::CONTROL, super::spec::USER_DEFINED];

/// Names of tokens that end an answer, the most common first.
const NAMES: [&str; 22] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
    "<|eom_id|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
];

/// Names of the tokens between and after the files of fill-in-the-middle. One
/// of each kind ends an answer: the key's, or the first of these.
const PADDING: [&str; 5] = ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const REPOSITORY: [&str; 5] = [
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
];
const FILE: [&str; 1] = ["<|file_sep|>"];

/// Whether a token of this name and type ends an answer. llama.cpp makes it a
/// control token, whatever the file says that it is.
pub(super) fn is_end(text: &str, token_type: i32) -> bool {
    NAMES.contains(&text) && (text != "</s>" || MARKED.contains(&token_type))
}

/// The ids of the tokens that end an answer, each once, those of the keys
/// first; never more than a briquette holds.
pub(super) fn of_gguf(source: &GgufTokenizer) -> Vec<u32> {
    let find = |name: &&str| {
        let id = source.tokens.iter().position(|token| token == name)?;
        u32::try_from(id).ok()
    };
    let is_end = |id: &u32| {
        let token_type = source.token_types.get(*id as usize);
        is_end(text(source, *id), token_type.copied().unwrap_or_default())
    };
    let stated = [source.eos, source.eot, source.eom];
    let named = NAMES.iter().filter_map(find).filter(is_end);
    let fill_in = [
        (source.fim_pad, &PADDING[..]),
        (source.fim_rep, &REPOSITORY),
        (source.fim_sep, &FILE),
    ];
    let fill_in = fill_in
        .into_iter()
        .filter_map(|(key, names)| key.or_else(|| names.iter().find_map(find)));
    let mut ends = Vec::new();
    for id in stated.into_iter().flatten().chain(named).chain(fill_in) {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    drop_exceptions(source, &mut ends);
    for id in ends.drain(MAX_STOP_TOKENS.min(ends.len())..) {
        let text = text(source, id);
        tracing::warn!("`{text}` does not end answers: {MAX_STOP_TOKENS} other tokens do");
    }
    ends
}

fn text(source: &GgufTokenizer, id: u32) -> &str {
    source.tokens.get(id as usize).map_or("", String::as_str)
}

/// In OpenAI's Harmony and in Solar's format `<|end|>` only ends a part of an
/// answer; in Gemma 4's `</s>` is text.
fn drop_exceptions(source: &GgufTokenizer, ends: &mut Vec<u32>) {
    let texts: Vec<&str> = ends.iter().map(|id| text(source, *id)).collect();
    let any = |names: &[&str]| names.iter().any(|name| texts.contains(name));
    let in_parts = any(&["<|call|>", "<|calls|>"]) && any(&["<|return|>", "<|flush|>"]);
    let has_tools = any(&["<|tool_response>"]);
    ends.retain(|id| match text(source, *id) {
        "<|end|>" => !in_parts,
        "</s>" => !has_tools,
        _ => true,
    });
}

#[cfg(test)]
mod tests;
