//! Ends by key and by name. What is expected follows llama.cpp's
//! src/llama-vocab.cpp.

use super::*;
use crate::checkpoint::gguf::tokenizer_spec;

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// A tokenizer of these tokens and types, numbered from 0.
fn tokenizer(tokens: &[(&str, i32)]) -> GgufTokenizer {
    GgufTokenizer {
        model: "gpt2".into(),
        pre: Some("qwen2".into()),
        tokens: tokens.iter().map(|(text, _)| (*text).to_owned()).collect(),
        token_types: tokens.iter().map(|(_, kind)| *kind).collect(),
        ..GgufTokenizer::default()
    }
}

/// The texts of the tokens that end an answer.
fn ends(source: &GgufTokenizer) -> Vec<&str> {
    let ids = of_gguf(source).into_iter();
    ids.map(|id| source.tokens[id as usize].as_str()).collect()
}

#[test]
fn tokens_end_an_answer_by_their_names() {
    for name in NAMES {
        let source = tokenizer(&[("a", NORMAL), (name, CONTROL), ("<|other|>", CONTROL)]);
        assert_eq!(ends(&source), [name]);
    }
    let source = tokenizer(&[("a", NORMAL), ("<|im_start|>", CONTROL), ("</think>", 4)]);
    assert!(ends(&source).is_empty());
}

#[test]
fn all_keys_count_and_come_first() {
    let texts = ["a", "b", "c", "<|im_end|>", "e", "f", "g"];
    let mut source = tokenizer(&texts.map(|text| (text, NORMAL)));
    (source.eos, source.eot, source.eom) = (Some(2), Some(1), Some(2));
    (source.fim_pad, source.fim_rep, source.fim_sep) = (Some(4), Some(5), Some(6));
    assert_eq!(ends(&source), ["c", "b", "<|im_end|>", "e", "f", "g"]);
}

/// llama.cpp takes one token of each kind, the key's if there is one.
#[test]
fn one_token_of_each_kind_of_gap_ends_an_answer() {
    let texts = ["<|file_sep|>", "<|fim_pad|>", "[PAD]", "<|repo_name|>"];
    let mut source = tokenizer(&texts.map(|text| (text, CONTROL)));
    assert_eq!(
        ends(&source),
        ["<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"]
    );
    source.fim_pad = Some(2);
    assert_eq!(ends(&source)[0], "[PAD]");
}

/// A token whose name says that it is a control token becomes one, so that the
/// template can write it and nobody is shown it.
#[test]
fn an_end_of_any_type_becomes_a_control_token() {
    for kind in [NORMAL, USER_DEFINED, CONTROL, 5] {
        let source = tokenizer(&[("a", NORMAL), ("<|im_end|>", kind)]);
        assert_eq!(ends(&source), ["<|im_end|>"], "type {kind}");
        let spec = tokenizer_spec(&source).unwrap();
        let [token] = spec.added.as_slice() else {
            panic!("type {kind}: {:?}", spec.added)
        };
        assert!(token.special && token.text == "<|im_end|>", "type {kind}");
    }
}

/// Qwen's vocabularies have `</s>` as an ordinary token.
#[test]
fn a_closing_tag_of_html_ends_nothing() {
    let with = |kind| tokenizer(&[("a", NORMAL), ("</s>", kind)]);
    assert!(ends(&with(NORMAL)).is_empty());
    assert!(tokenizer_spec(&with(NORMAL)).unwrap().added.is_empty());
    assert_eq!(ends(&with(CONTROL)), ["</s>"]);
    let mut stated = with(NORMAL);
    stated.eos = Some(1);
    assert_eq!(ends(&stated), ["</s>"]);
}

#[test]
fn formats_of_several_parts_go_on_after_a_part() {
    let harmony = ["<|end|>", "<|return|>", "<|call|>"].map(|text| (text, CONTROL));
    assert_eq!(ends(&tokenizer(&harmony)), ["<|return|>", "<|call|>"]);
    let solar = ["<|end|>", "<|flush|>", "<|calls|>"].map(|text| (text, CONTROL));
    assert_eq!(ends(&tokenizer(&solar)), ["<|flush|>", "<|calls|>"]);
    let phi = ["<|end|>", "<|call|>"].map(|text| (text, CONTROL));
    assert_eq!(ends(&tokenizer(&phi)), ["<|end|>", "<|call|>"]);
    let gemma = ["</s>", "<|tool_response>"].map(|text| (text, CONTROL));
    assert_eq!(ends(&tokenizer(&gemma)), ["<|tool_response>"]);
}

#[test]
fn the_most_important_ends_are_kept() {
    let mut tokens = NAMES.map(|name| (name, CONTROL)).to_vec();
    tokens.push(("a", NORMAL));
    let mut source = tokenizer(&tokens);
    source.eos = Some(NAMES.len() as u32);
    let ends = ends(&source);
    assert_eq!(ends.len(), MAX_STOP_TOKENS);
    assert_eq!(ends[..3], ["a", "<|eot_id|>", "<|im_end|>"]);
}
