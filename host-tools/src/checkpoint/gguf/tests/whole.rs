//! A whole small file: its tensors are all read, and its tokenizer is complete.

use super::{Builder, key, open, refused_model, string, tensor};
use crate::checkpoint::Weights;
use crate::checkpoint::gguf::{self, GgufMapping, tokenizer_spec};
use crate::checkpoint::tokenizer::TokenizerImportError;

const F32: u32 = 0;

fn u32_key(name: &str, value: u32) -> Vec<u8> {
    key(name, 4, &value.to_le_bytes())
}

fn strings(name: &str, texts: &[&str]) -> Vec<u8> {
    let mut list = 8_u32.to_le_bytes().to_vec();
    list.extend((texts.len() as u64).to_le_bytes());
    list.extend(texts.iter().flat_map(|text| string(text)));
    key(name, 9, &list)
}

/// A Llama of one block whose rows are all 8 wide, and tensors `more` of 8.
fn llama(more: &[&str]) -> Builder {
    let names: Vec<String> = [
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ]
    .map(|name| format!("blk.0.{name}.weight"))
    .into_iter()
    .chain(["token_embd.weight".to_owned(), "output.weight".to_owned()])
    .collect();
    let vectors = [
        "output_norm.weight",
        "blk.0.attn_norm.weight",
        "blk.0.ffn_norm.weight",
    ];
    let mut builder = Builder {
        version: 3,
        keys: vec![
            key("general.architecture", 8, &string("llama")),
            u32_key("llama.context_length", 16),
            u32_key("llama.embedding_length", 8),
            u32_key("llama.block_count", 1),
            u32_key("llama.feed_forward_length", 8),
            u32_key("llama.attention.head_count", 1),
            key(
                "llama.attention.layer_norm_rms_epsilon",
                6,
                &1e-6_f32.to_le_bytes(),
            ),
        ],
        tensors: Vec::new(),
        key_count: None,
        tensor_count: None,
        data: 0,
    };
    for name in names {
        let entry = tensor(&name, &[8, 8], F32, builder.data as u64);
        builder.tensors.push(entry);
        builder.data += 256;
    }
    for name in vectors.iter().chain(more) {
        let entry = tensor(name, &[8], F32, builder.data as u64);
        builder.tensors.push(entry);
        builder.data += 32;
    }
    builder
}

fn check(more: &[&str]) -> Result<(), String> {
    let mut file = open(&llama(more).bytes()).unwrap();
    let model = gguf::model(&mut file).unwrap();
    let mapping = GgufMapping::new(&file, &model);
    let mut weights = Weights::new(model, Box::new(file), Box::new(mapping));
    weights.check().map_err(|error| error.to_string())
}

/// llama.cpp refuses a file with tensors that it does not ask for ("wrong number
/// of tensors"), but multiplies by `.scale` where it knows the matrix.
#[test]
fn tensors_that_change_the_result_are_refused_by_name() {
    check(&[]).unwrap();
    for (name, expected) in [
        ("output.scale", "factors on the weights"),
        ("blk.0.attn_q.scale", "factors on the weights"),
        ("blk.0.ffn_up.input_scale", "factors on the weights"),
        ("blk.0.attn_k.bias", "biases that the configuration"),
        ("blk.0.attn_sub_norm.weight", "norms that its architecture"),
        ("blk.0.attn_q_norm.weight", "norms that its architecture"),
        ("blk.0.attn_q.weight.lora_a", "adapters (LoRA)"),
        ("rope_factors_long.weight", "unknown to its architecture"),
        ("blk.0.something", "unknown to its architecture"),
    ] {
        let text = check(&[name]).unwrap_err();
        let is_named = text.contains(&format!("`{name}`"));
        assert!(is_named && text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn what_changes_nothing_may_be_left_over() {
    for name in [
        "blk.1.attn_norm.weight",
        "v.blk.0.ln1.weight",
        "mm.0.weight",
    ] {
        check(&[name]).unwrap();
    }
}

/// llama.cpp falls back to a pre-tokenizer of its own with a warning; that is a
/// guess.
#[test]
fn how_text_is_split_is_not_guessed() {
    let tokens = ["a", "b", "ab", "", "", "<|end|>"];
    let mut builder = llama(&[]);
    builder
        .keys
        .push(key("tokenizer.ggml.model", 8, &string("gpt2")));
    builder.keys.push(strings("tokenizer.ggml.tokens", &tokens));
    builder
        .keys
        .push(strings("tokenizer.ggml.merges", &["a b"]));
    let mut tokenizer = open(&builder.bytes())
        .unwrap()
        .tokenizer()
        .unwrap()
        .unwrap();
    let error = tokenizer_spec(&tokenizer).unwrap_err();
    assert!(matches!(error, TokenizerImportError::NoPreTokenizer { .. }));
    let text = error.to_string();
    assert!(
        text.contains("--pre NAME") && text.contains("llama-bpe"),
        "{text}"
    );

    // Empty tokens, of which there may be several, are no texts.
    tokenizer.pre = Some("qwen2".to_owned());
    let spec = tokenizer_spec(&tokenizer).unwrap();
    assert_eq!(spec.tokens[2], b"ab");
    assert!(spec.tokens[3].is_empty() && spec.tokens[4].is_empty());
    assert!(!spec.mergeable.contains(&3) && !spec.mergeable.contains(&4));
}

#[test]
fn heads_of_an_odd_width_are_named() {
    let mut builder = llama(&[]);
    builder.keys.push(u32_key("llama.attention.key_length", 7));
    builder
        .keys
        .push(u32_key("llama.attention.value_length", 7));
    let error = refused_model(&builder);
    assert!(
        error.contains("key_length") && error.contains("not 7"),
        "{error}"
    );
}
