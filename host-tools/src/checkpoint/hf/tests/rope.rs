//! RoPE's parameters in both spellings.

use serde_json::{Value, json};

use super::{decode, golden_config, small, with};
use crate::checkpoint::hf::settings::Description;

/// A latent attention of V2-Lite's width: 128 + 64.
fn v2(rope: Value) -> Value {
    let config = with(
        &golden_config("tiny-v2"),
        json!({
            "rope_parameters": "absent", "rope_theta": 10000, "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64, "max_position_embeddings": 163_840,
        }),
    );
    with(&config, rope)
}

fn decoded(rope: Value) -> Description {
    decode(&v2(rope)).unwrap()
}

fn close(found: f32, expected: f64) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= expected.abs() * 1e-6, "{found} is not {expected}");
}

/// As published for DeepSeek-V2-Lite.
fn v2_lite_scaling() -> Value {
    json!({"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 0.707,
        "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096})
}

#[test]
fn both_spellings_mean_the_same() {
    let published = decoded(json!({"rope_scaling": v2_lite_scaling(), "rope_theta": 500_000}));
    let mut parameters = with(&v2_lite_scaling(), json!({"type": "absent"}));
    parameters["rope_type"] = json!("yarn");
    parameters["rope_theta"] = json!(500_000.0);
    let written = decoded(json!({"rope_parameters": parameters, "rope_theta": "absent"}));
    assert_eq!(published.config, written.config);
    assert_eq!(
        published.rope_inverse_frequencies,
        written.rope_inverse_frequencies
    );
    close(
        published.rope_inverse_frequencies[1],
        500_000f64.powf(-1.0 / 32.0),
    );
}

#[test]
fn without_scaling_nothing_is_scaled() {
    for rope in [
        json!({"rope_scaling": null}),
        json!({"rope_scaling": {}}),
        json!({"rope_scaling": {"rope_type": "default", "mscale_all_dim": 1.0, "factor": 4.0}}),
        json!({"rope_theta": "absent"}),
    ] {
        let description = decoded(rope);
        // 192^(-1/2)
        close(description.config.softmax_scale, 0.072_168_783_648_703_2);
        assert_eq!(description.config.rope_attention_factor, 1.0);
        close(
            description.rope_inverse_frequencies[31],
            10000f64.powf(-31.0 / 32.0),
        );
    }
}

#[test]
fn yarn_scales_scores_and_rotation_as_mscale_says() {
    let scaled = |changes| decoded(json!({"rope_scaling": with(&v2_lite_scaling(), changes)}));
    let factors = |changes| {
        let config = scaled(changes).config;
        (config.softmax_scale, config.rope_attention_factor)
    };
    // 192^(-1/2) * (0.0707 ln 40 + 1)^2; the two mscales cancel.
    let (scale, factor) = factors(json!({}));
    close(scale, 0.114_721_386_792_926_12);
    close(factor, 1.0);
    // (0.1 ln 40 + 1) / (0.05 ln 40 + 1)
    let (_, factor) = factors(json!({"mscale": 1.0, "mscale_all_dim": 0.5}));
    close(factor, 1.155_721_990_196_260_8);
    // One of them alone counts for nothing in the rotation: 0.1 ln 40 + 1.
    let (scale, factor) = factors(json!({"mscale_all_dim": 0}));
    close(scale, 0.072_168_783_648_703_2);
    close(factor, 1.368_887_945_411_393_7);
    let (_, factor) = factors(json!({"attention_factor": 0.5}));
    close(factor, 0.5);
    // Without a factor, the ratio of contexts: 163840 / 4096 is 40 too.
    assert_eq!(factors(json!({"factor": null})), factors(json!({})));
    // The ramp goes from dimension 10 to 23: 31 is divided, 5 is not.
    let frequencies = scaled(json!({})).rope_inverse_frequencies;
    close(frequencies[31], 10000f64.powf(-31.0 / 32.0) / 40.0);
    close(frequencies[5], 10000f64.powf(-5.0 / 32.0));
    // Without rounding, 10.47 to 22.51: dimension 10 is kept, 23 is divided.
    let exact = scaled(json!({"truncate": false})).rope_inverse_frequencies;
    assert!(exact[12] > frequencies[12]);
}

#[test]
fn grouped_attention_has_no_mscale_on_scores() {
    let config = with(
        &golden_config("tiny-llama"),
        json!({
            "rope_parameters": {"rope_type": "yarn", "factor": 8.0, "rope_theta": 10000.0,
                "original_max_position_embeddings": 32, "mscale_all_dim": 1.0},
        }),
    );
    let description = decode(&config).unwrap();
    assert_eq!(description.config.softmax_scale, 0.25);
    // 0.1 ln 8 + 1
    close(
        description.config.rope_attention_factor,
        1.207_944_154_167_983_6,
    );
}

#[test]
fn llama3_and_linear_are_read() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let description = decoded(json!({ "rope_scaling": llama3 }));
    close(description.rope_inverse_frequencies[0], 1.0);
    close(
        description.rope_inverse_frequencies[31],
        10000f64.powf(-31.0 / 32.0) / 8.0,
    );
    assert_eq!(description.config.rope_attention_factor, 1.0);
    let linear = decoded(json!({"rope_scaling": {"type": "linear", "factor": 2}}));
    close(linear.rope_inverse_frequencies[0], 0.5);
    // mscale_all_dim counts with every type but the default: 0.1 ln 2 + 1.
    let linear = json!({"rope_scaling": {"type": "linear", "factor": 2, "mscale_all_dim": 1.0}});
    let m = 1.069_314_718_055_994_6;
    close(
        decoded(linear).config.softmax_scale,
        0.072_168_783_648_703_2 * m * m,
    );
}

/// Numbers that transformers 5.23.0 computes: `rotary_emb.inv_freq`,
/// `rotary_emb.attention_scaling` and `self_attn.scaling`.
#[test]
fn transformers_computes_the_same() {
    let check = |config: &Value, frequencies: &[f64], attention_factor, softmax_scale| {
        let description = decode(config).unwrap();
        assert_eq!(
            description.rope_inverse_frequencies.len(),
            frequencies.len()
        );
        for (&found, &expected) in description.rope_inverse_frequencies.iter().zip(frequencies) {
            close(found, expected);
        }
        close(description.config.rope_attention_factor, attention_factor);
        close(description.config.softmax_scale, softmax_scale);
    };
    let config = with(
        &small("LlamaForCausalLM"),
        json!({"hidden_size": 32, "max_position_embeddings": 128}),
    );
    let llama3 = json!({"rope_parameters": {"rope_type": "llama3", "rope_theta": 500_000.0,
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16}});
    let frequencies = [
        0.576_056_361_198_425_3,
        0.004_700_753_837_823_868,
        0.000_176_776_680_746_115_74,
        6.647_869_668_086_059e-6,
    ];
    check(
        &with(&config, llama3),
        &frequencies,
        1.0,
        0.353_553_390_593_273_8,
    );

    let untruncated = json!({"head_dim": 16, "rope_parameters": {"rope_type": "yarn",
        "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 16,
        "truncate": false}});
    let frequencies = [
        1.0,
        0.039_528_470_486_402_51,
        0.012_500_000_186_264_515,
        0.003_952_847_328_037_023_5,
        0.001_249_999_972_060_322_8,
        0.000_395_284_732_803_702_35,
        0.000_125_000_005_937_181_4,
        3.952_847_328_037_023_5e-5,
    ];
    check(
        &with(&config, untruncated),
        &frequencies,
        1.207_944_154_167_983_6,
        0.25,
    );

    let unequal = json!({"kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
        "first_k_dense_replace": 3, "rope_parameters": {"rope_type": "yarn",
        "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32,
        "mscale": 1.0, "mscale_all_dim": 0.5}});
    let v3 = with(&config, json!({"architectures": ["DeepseekV3ForCausalLM"]}));
    let frequencies = [
        1.0,
        0.025_000_000_372_529_03,
        0.002_499_999_944_120_645_5,
        0.000_250_000_011_874_362_8,
    ];
    let (factor, scale) = (1.064_821_625_369_571_5, 0.285_858_491_562_792_75);
    check(&with(&v3, unequal), &frequencies, factor, scale);
}

#[test]
fn what_is_not_supported_is_named() {
    for (rope, text) in [
        (
            json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
            "rope_type `dynamic`",
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope"}}),
            "rope_type `longrope`",
        ),
        (
            json!({"rope_scaling": {"factor": 2.0}}),
            "`rope_scaling.factor` is 2, expected no factor where rope_type is absent",
        ),
        (
            json!({"rope_scaling": {"type": "none", "factor": 2.0}}),
            "rope_type `none`",
        ),
        (
            json!({"rope_parameters": {"rope_theta": 10000.0, "factor": 2.0}}),
            "`rope_parameters.factor` is 2",
        ),
        (
            json!({"rope_scaling": {"type": "linear"}}),
            "`rope_scaling.factor` is missing",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 0}}),
            "`rope_scaling.factor` is 0",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": -2}}),
            "`rope_scaling.factor` is -2",
        ),
        (
            json!({"rope_scaling": {"type": "yarn", "beta_fast": -1}}),
            "`rope_scaling.beta_fast`",
        ),
        (
            json!({"rope_scaling": {"type": "yarn", "attention_factor": -1}}),
            "overflows",
        ),
        (
            json!({"rope_scaling": {"type": "llama3", "factor": 8}}),
            "low_freq_factor",
        ),
        (
            json!({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4,
            "high_freq_factor": 1}}),
            "greater than low_freq_factor = 4",
        ),
        (
            json!({"rope_scaling": "yarn"}),
            "`rope_scaling` is \"yarn\", expected an object",
        ),
        (json!({"rope_theta": 1}), "`rope_theta` is 1"),
        (json!({"rope_theta": -5}), "`rope_theta` is -5"),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor `0.5`",
        ),
        (
            json!({"rope_parameters": {"partial_rotary_factor": 0.5}}),
            "partial_rotary_factor",
        ),
        (
            json!({"rope_parameters": {"full_attention": {}}}),
            "layer type, `full_attention`",
        ),
    ] {
        let error = decode(&v2(rope.clone()))
            .expect_err(&rope.to_string())
            .to_string();
        assert!(error.contains(text), "{rope}: {error}");
    }
}
