//! RoPE's keys. What is expected follows llama.cpp: src/llama-model.cpp reads
//! the keys, src/llama-context.cpp and src/models/deepseek2.cpp use them.

use super::{Builder, key, open, string, tensor};
use crate::checkpoint::{ImportError, Model, gguf};

fn number(name: &str, value: f32) -> Vec<u8> {
    key(name, 6, &value.to_le_bytes())
}

fn count(name: &str, value: u32) -> Vec<u8> {
    key(name, 4, &value.to_le_bytes())
}

fn text(name: &str, value: &str) -> Vec<u8> {
    key(name, 8, &string(value))
}

/// A model whose heads rotate eight numbers.
fn model(architecture: &str, keys: &[Vec<u8>]) -> Result<Model, ImportError> {
    let name = |key: &str| format!("{architecture}.{key}");
    let mut builder = Builder::sound();
    builder.tensors = vec![tensor("token_embd.weight", &[16, 2], 0, 0)];
    builder.keys = vec![
        text("general.architecture", architecture),
        count(&name("context_length"), 128),
        count(&name("embedding_length"), 16),
        count(&name("block_count"), 1),
        count(&name("feed_forward_length"), 16),
        count(&name("attention.head_count"), 2),
        number(&name("attention.layer_norm_rms_epsilon"), 1e-6),
        count(&name("rope.dimension_count"), 8),
    ];
    if architecture == "deepseek2" {
        builder.keys.push(count(&name("attention.key_length"), 16));
        builder.keys.push(count(&name("attention.value_length"), 8));
        builder.keys.push(count(&name("attention.kv_lora_rank"), 8));
    }
    builder.keys.extend_from_slice(keys);
    gguf::model(&mut open(&builder.bytes()).unwrap())
}

fn llama(keys: &[Vec<u8>]) -> Model {
    model("llama", keys).unwrap()
}

fn refusal(architecture: &str, keys: &[Vec<u8>]) -> String {
    model(architecture, keys).unwrap_err().to_string()
}

/// Frequencies, the factor on cosines and sines, and the one on the scores.
fn rope(model: &Model) -> (&[f32], f32, f32) {
    let config = &model.config;
    (
        &model.rope_inverse_frequencies,
        config.rope_attention_factor,
        config.softmax_scale,
    )
}

fn close(found: f32, expected: f64) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= expected.abs() * 1e-6, "{found} is not {expected}");
}

#[test]
fn a_factor_without_a_type_is_linear() {
    let linear = llama(&[
        text("llama.rope.scaling.type", "linear"),
        number("llama.rope.scaling.factor", 4.0),
    ]);
    assert_eq!(linear.rope_inverse_frequencies[0], 0.25);
    for keys in [
        vec![number("llama.rope.scaling.factor", 4.0)],
        vec![number("llama.rope.scale_linear", 4.0)],
        vec![
            text("llama.rope.scaling.type", "linear"),
            number("llama.rope.scale_linear", 4.0),
        ],
        // The newer key wins.
        vec![
            number("llama.rope.scaling.factor", 4.0),
            number("llama.rope.scale_linear", 2.0),
        ],
    ] {
        assert_eq!(rope(&llama(&keys)), rope(&linear));
    }
}

#[test]
fn without_a_factor_nothing_is_scaled() {
    let plain = llama(&[]);
    assert_eq!(plain.rope_inverse_frequencies[0], 1.0);
    for keys in [
        // What llama.cpp's own writer stores for a model without scaling.
        vec![
            text("llama.rope.scaling.type", "linear"),
            number("llama.rope.scaling.factor", 0.0),
            number("llama.rope.scaling.attn_factor", 1.0),
            number("llama.rope.scaling.yarn_log_multiplier", 0.0),
            number("llama.rope.scaling.yarn_ext_factor", -1.0),
            number("llama.rope.scaling.yarn_attn_factor", 1.0),
            number("llama.rope.scaling.yarn_beta_fast", 32.0),
            number("llama.rope.scaling.yarn_beta_slow", 1.0),
            key("llama.rope.scaling.finetuned", 7, &[1]),
        ],
        vec![
            text("llama.rope.scaling.type", "none"),
            number("llama.rope.scaling.factor", 4.0),
        ],
        vec![number("llama.rope.scaling.factor", 1.0)],
        vec![text("llama.rope.scaling.type", "yarn")],
    ] {
        assert_eq!(rope(&llama(&keys)), rope(&plain));
    }
}

fn yarn(architecture: &str, more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let name = |key: &str| format!("{architecture}.rope.scaling.{key}");
    let mut keys = vec![
        text(&name("type"), "yarn"),
        number(&name("factor"), 4.0),
        count(&name("original_context_length"), 32),
    ];
    keys.extend_from_slice(more);
    keys
}

/// 0.1 ln 4 + 1.
const TEMPERATURE: f64 = 1.138_629_436_111_989;

#[test]
fn attn_factor_multiplies() {
    let factor = |value| [number("llama.rope.scaling.attn_factor", value)];
    let plain = llama(&yarn("llama", &[]));
    close(plain.config.rope_attention_factor, TEMPERATURE);
    let one = llama(&yarn("llama", &factor(1.0)));
    assert_eq!(rope(&one), rope(&plain));
    let half = llama(&yarn("llama", &factor(0.5)));
    close(half.config.rope_attention_factor, 0.5 * TEMPERATURE);
    assert_eq!(half.config.softmax_scale, plain.config.softmax_scale);
    let without_yarn = llama(&factor(1.5));
    close(without_yarn.config.rope_attention_factor, 1.5);
    for value in [0.0, -1.0] {
        let error = refusal("llama", &factor(value));
        assert!(
            error.contains("`llama.rope.scaling.attn_factor` is"),
            "{error}"
        );
    }
}

#[test]
fn latent_attention_has_the_temperature_on_its_scores() {
    // 16^(-1/2), without any scaling.
    let plain = model("deepseek2", &[]).unwrap();
    close(plain.config.softmax_scale, 0.25);
    let with = |more: &[Vec<u8>]| {
        let model = model("deepseek2", &yarn("deepseek2", more)).unwrap();
        (
            model.config.rope_attention_factor,
            model.config.softmax_scale,
        )
    };
    let multiplier = number("deepseek2.rope.scaling.yarn_log_multiplier", 0.1);
    let (rotation, scores) = with(std::slice::from_ref(&multiplier));
    close(rotation, 1.0);
    close(scores, 0.25 * TEMPERATURE.powi(2));
    let factor = number("deepseek2.rope.scaling.attn_factor", 0.5);
    let (rotation, scores) = with(&[multiplier, factor]);
    close(rotation, 0.5);
    close(scores, 0.25 * (0.5 * TEMPERATURE).powi(2));
    // As transformers has it without `mscale_all_dim`.
    let (rotation, scores) = with(&[]);
    close(rotation, TEMPERATURE);
    close(scores, 0.25);
}

#[test]
fn the_original_context_is_the_trained_one_if_not_stated() {
    let keys = |original: &[u32]| {
        let mut keys = yarn("llama", &[]);
        keys.truncate(2);
        let name = "llama.rope.scaling.original_context_length";
        keys.extend(original.iter().map(|&length| count(name, length)));
        llama(&keys)
    };
    assert_eq!(rope(&keys(&[])), rope(&keys(&[128])));
    assert_eq!(rope(&keys(&[0])), rope(&keys(&[128])));
    assert_ne!(rope(&keys(&[32])), rope(&keys(&[128])));
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let name = |key: &str| format!("llama.rope.{key}");
    for (entry, refused) in [
        (
            number(&name("scaling.factor"), -4.0),
            "scaling.factor` is -4",
        ),
        (number(&name("scale_linear"), -4.0), "scale_linear` is -4"),
        (text(&name("scaling.type"), "longrope"), "`longrope`"),
        (
            number(&name("scaling.yarn_ext_factor"), 0.5),
            "ext_factor` is 0.5",
        ),
        (
            number(&name("scaling.yarn_attn_factor"), 2.0),
            "yarn_attn_factor` is 2",
        ),
        (
            number(&name("scaling.yarn_log_multiplier"), 0.1),
            "log_multiplier` is 0.1",
        ),
        (
            number(&name("scaling.alpha"), 1000.0),
            "scaling.alpha = 1000",
        ),
        (number(&name("freq_base"), 0.0), "freq_base` is 0"),
    ] {
        let error = refusal("llama", &[entry]);
        assert!(error.contains(refused), "{refused}: {error}");
    }
    let error = refusal(
        "llama",
        &yarn("llama", &[number(&name("scaling.yarn_ext_factor"), 0.0)]),
    );
    assert!(error.contains("ext_factor` is 0, expected 1"), "{error}");
    let error = refusal(
        "llama",
        &yarn("llama", &[number(&name("scaling.yarn_beta_fast"), -1.0)]),
    );
    assert!(error.contains("yarn_beta_fast` is -1"), "{error}");
    let mut half = yarn("llama", &[]);
    half.push(count("llama.attention.key_length", 16));
    let error = refusal("llama", &half);
    assert!(
        error.contains("rope.dimension_count` is 8, expected 16"),
        "{error}"
    );
}
