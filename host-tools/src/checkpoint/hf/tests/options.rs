//! Every option of a configuration: honoured, or refused by name.

use briquette_engine::blob::{LayerKind, Scoring};
use serde_json::{Value, json};

use super::{changed, decode, golden_config, gqa, mla, small, with};
use crate::checkpoint::hf::settings::Description;

const SLIDING: LayerKind = LayerKind(LayerKind::SLIDING);
const MOE: LayerKind = LayerKind(LayerKind::MOE);
const DENSE: LayerKind = LayerKind(0);

/// Each of the changes makes an error that contains the text beside it.
fn refused(config: &Value, cases: &[(Value, &str)]) {
    for (changes, text) in cases {
        let error = decode(&with(config, changes.clone())).expect_err(&changes.to_string());
        assert!(error.to_string().contains(text), "{changes}: {error}");
    }
}

#[test]
fn the_architecture_may_be_told_by_the_model_type() {
    let config = golden_config("tiny-v3");
    let by_type = changed(&config, json!({"architectures": "absent"}));
    assert_eq!(by_type.config, decode(&config).unwrap().config);
    refused(
        &config,
        &[
            (
                json!({"architectures": ["GemmaForCausalLM"]}),
                "supported: DeepseekV2ForCausalLM",
            ),
            (
                json!({"architectures": null, "model_type": "gemma"}),
                "model_type `gemma`",
            ),
            (
                json!({"architectures": [], "model_type": null}),
                "`architectures` is missing",
            ),
            (json!({"architectures": [3]}), "`architectures` is 3"),
        ],
    );
}

#[test]
fn numbers_must_make_sense() {
    let config = golden_config("tiny-llama");
    refused(
        &config,
        &[
            (json!({"hidden_size": "absent"}), "`hidden_size` is missing"),
            (json!({"vocab_size": 0}), "`vocab_size` is 0"),
            (json!({"vocab_size": -1}), "`vocab_size` is -1"),
            (
                json!({"vocab_size": 1_u64 << 31}),
                "`vocab_size` is 2147483648",
            ),
            (json!({"vocab_size": 1.5}), "`vocab_size` is 1.5"),
            (json!({"vocab_size": "512"}), "`vocab_size` is \"512\""),
            (
                json!({"num_hidden_layers": 2_000_000_000}),
                "`num_hidden_layers`",
            ),
            (json!({"rms_norm_eps": 0}), "`rms_norm_eps` is 0"),
            (json!({"rms_norm_eps": 1e-60}), "`rms_norm_eps`"),
            (json!({"rms_norm_eps": 1e60}), "`rms_norm_eps`"),
            (
                json!({"tie_word_embeddings": 1}),
                "`tie_word_embeddings` is 1",
            ),
            (
                json!({"num_key_value_heads": 3}),
                "a divisor of num_attention_heads = 8",
            ),
            (
                json!({"head_dim": null, "hidden_size": 63}),
                "a multiple of num_attention_heads = 8",
            ),
            (
                json!({"head_dim": 15}),
                "`head_dim` is 15, expected an even width",
            ),
            (
                json!({"head_dim": null, "hidden_size": 72}),
                "`hidden_size / num_attention_heads` is 9, expected an even width",
            ),
            (
                json!({"head_dim": 1 << 20}),
                "an even width of at most 65536",
            ),
            (
                json!({"num_attention_heads": 1 << 30, "num_key_value_heads": 1, "head_dim": 4}),
                "a projection has 4294967296 rows",
            ),
            (
                json!({"hidden_act": "gelu"}),
                "hidden_act `gelu` is not supported; supported: silu",
            ),
        ],
    );
}

#[test]
fn biases_follow_the_family() {
    let biases =
        |description: &Description| (gqa(description).qkv_bias, gqa(description).output_bias);
    let on = json!({"attention_bias": true, "mlp_bias": true});
    let llama = changed(&small("LlamaForCausalLM"), on.clone());
    assert_eq!(
        (biases(&llama), llama.config.mlp_bias),
        ((true, true), true)
    );
    let qwen2 = decode(&small("Qwen2ForCausalLM")).unwrap();
    assert_eq!(
        (biases(&qwen2), qwen2.config.mlp_bias),
        ((true, false), false)
    );
    assert!(!gqa(&qwen2).query_key_norm);
    let qwen3 = changed(&small("Qwen3ForCausalLM"), on.clone());
    assert_eq!(
        (biases(&qwen3), qwen3.config.mlp_bias),
        ((true, true), false)
    );
    assert!(gqa(&qwen3).query_key_norm);
    let v2 = changed(&golden_config("tiny-v2"), on.clone());
    assert_eq!((mla(&v2).bias, v2.config.mlp_bias), (true, true));
    let v3 = changed(&golden_config("tiny-v3"), on);
    assert_eq!((mla(&v3).bias, v3.config.mlp_bias), (true, false));
}

#[test]
fn windows_slide_where_the_family_says() {
    let layers = |name, changes| {
        let description = changed(&small(name), changes);
        (description.layers, description.config.sliding_window)
    };
    let window = json!({"sliding_window": 8});
    assert_eq!(
        layers("LlamaForCausalLM", window.clone()),
        (vec![DENSE; 3], None)
    );
    assert_eq!(
        layers("MistralForCausalLM", window.clone()),
        (vec![SLIDING; 3], Some(8))
    );
    let none = json!({"sliding_window": null});
    assert_eq!(layers("MistralForCausalLM", none), (vec![DENSE; 3], None));
    let both = LayerKind(LayerKind::MOE | LayerKind::SLIDING);
    assert_eq!(
        layers("MixtralForCausalLM", window.clone()),
        (vec![both; 3], Some(8))
    );
    for name in ["Qwen2ForCausalLM", "Qwen3ForCausalLM"] {
        assert_eq!(
            layers(name, window.clone()),
            (vec![DENSE; 3], None),
            "unused"
        );
        let used = json!({"sliding_window": 8, "use_sliding_window": true, "max_window_layers": 2});
        assert_eq!(layers(name, used), (vec![DENSE, DENSE, SLIDING], Some(8)));
        let late = json!({"sliding_window": 8, "use_sliding_window": true});
        assert_eq!(
            layers(name, late),
            (vec![DENSE; 3], None),
            "from layer 28 on"
        );
        let types = ["sliding_attention", "full_attention", "full_attention"];
        let listed = json!({"sliding_window": 8, "use_sliding_window": true, "layer_types": types});
        assert_eq!(layers(name, listed), (vec![SLIDING, DENSE, DENSE], Some(8)));
        refused(
            &small(name),
            &[
                (
                    json!({"layer_types": types}),
                    "use_sliding_window is not true",
                ),
                (
                    json!({"layer_types": ["full_attention"]}),
                    "each of 3 layers",
                ),
                (
                    json!({"layer_types": ["a", "b", "c"]}),
                    "layer type `\"a\"`",
                ),
            ],
        );
    }
    let used = json!({"sliding_window": 8, "use_sliding_window": true, "num_experts": 8});
    assert_eq!(
        layers("Qwen3MoeForCausalLM", used),
        (vec![both; 3], Some(8))
    );
}

#[test]
fn qwen3_moe_layers_follow_step_and_list() {
    let config = golden_config("tiny-qwen3moe");
    let layers = |changes| changed(&config, changes).layers;
    assert_eq!(layers(json!({})), [MOE; 3]);
    assert_eq!(
        layers(json!({"decoder_sparse_step": 2})),
        [DENSE, MOE, DENSE]
    );
    assert_eq!(
        layers(json!({"mlp_only_layers": [0, 2]})),
        [DENSE, MOE, DENSE]
    );
    let dense = changed(&config, json!({"decoder_sparse_step": 9}));
    assert_eq!(
        (dense.config.moe, dense.config.intermediate_size),
        (None, 128)
    );
    let renamed = json!({"num_local_experts": "absent", "num_experts": 8});
    assert_eq!(
        changed(&config, renamed).config,
        decode(&config).unwrap().config
    );
    refused(
        &config,
        &[
            (
                json!({"decoder_sparse_step": 0}),
                "`decoder_sparse_step` is 0",
            ),
            (json!({"num_experts_per_tok": 9}), "at most the 8 experts"),
        ],
    );
}

#[test]
fn v2_routes_greedily_or_by_groups() {
    let config = golden_config("tiny-v2");
    let router = |changes| changed(&config, changes).config.moe.unwrap().router;
    // Groups mean nothing to the greedy choice, and V2 never renormalises.
    let greedy = router(json!({"n_group": 4, "topk_group": 2, "norm_topk_prob": true}));
    assert_eq!((greedy.num_groups, greedy.top_groups), (1, 1));
    assert_eq!(
        (greedy.scoring, greedy.normalize),
        (Scoring::Softmax, false)
    );
    let limited = json!({"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
        "routed_scaling_factor": 16.0});
    let grouped = router(limited.clone());
    assert_eq!(
        (grouped.num_groups, grouped.top_groups, grouped.scale),
        (4, 2, 16.0)
    );
    let ungrouped = json!({"topk_method": "group_limited_greedy", "n_group": null});
    assert_eq!(router(ungrouped).num_groups, 1);
    refused(
        &with(&config, limited),
        &[
            (
                json!({"topk_method": "noaux_tc"}),
                "supported: greedy, group_limited_greedy",
            ),
            (
                json!({"n_group": 3}),
                "`n_group` is 3, expected a divisor of the 8 experts",
            ),
            (
                json!({"topk_group": 5}),
                "`topk_group` is 5, expected at most n_group = 4",
            ),
            (json!({"topk_group": null}), "`topk_group` is missing"),
            (json!({"num_experts_per_tok": 5}), "at most the 4 experts"),
            (
                json!({"num_experts_per_tok": "absent"}),
                "`num_experts_per_tok` is missing",
            ),
            (
                json!({"routed_scaling_factor": "2"}),
                "`routed_scaling_factor`",
            ),
        ],
    );
}

#[test]
fn v3_needs_two_experts_in_a_group() {
    let config = golden_config("tiny-v3");
    let groups = |changes| {
        let router = changed(&config, changes).config.moe.unwrap().router;
        (router.num_groups, router.top_groups)
    };
    assert_eq!(groups(json!({"n_group": 1, "topk_group": 1})), (1, 1));
    assert_eq!(groups(json!({"n_group": null, "topk_group": null})), (1, 1));
    assert_eq!(
        groups(json!({"n_group": 2, "topk_group": "absent"})),
        (2, 2)
    );
    refused(
        &config,
        &[
            (json!({"n_group": 16}), "at most half of the 16 experts"),
            (
                json!({"n_routed_experts": 1, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 1}),
                "at most half of the 1 experts",
            ),
        ],
    );
}

#[test]
fn layers_and_shared_experts_may_be_absent() {
    let config = golden_config("tiny-v3");
    for shared in [json!(null), json!(0)] {
        let moe = changed(&config, json!({"n_shared_experts": shared}))
            .config
            .moe
            .unwrap();
        assert_eq!(moe.shared_size, 0);
    }
    for dense in [
        json!({"first_k_dense_replace": 3}),
        json!({"n_routed_experts": null}),
    ] {
        let description = changed(&config, dense);
        assert_eq!(
            (description.config.moe, description.layers),
            (None, vec![DENSE; 3])
        );
        assert_eq!(description.config.intermediate_size, 128);
    }
    let ignored = json!({"moe_layer_freq": 2, "num_nextn_predict_layers": 1});
    assert_eq!(changed(&config, ignored).layers, [DENSE, MOE, MOE]);
    refused(
        &config,
        &[(json!({"n_shared_experts": 1 << 30}), "`n_shared_experts`")],
    );
}

#[test]
fn latent_attention_reads_its_own_widths() {
    let config = golden_config("tiny-v3");
    let direct = mla(&changed(&config, json!({"q_lora_rank": null})));
    assert_eq!(direct.q_lora_rank, None);
    // Keys that transformers 5 adds, and heads of keys and values, say nothing.
    let other = json!({"head_dim": 3, "qk_head_dim": 5, "num_key_value_heads": 1});
    assert_eq!(
        changed(&config, other).config,
        decode(&config).unwrap().config
    );
    // The compressing norms keep 1e-6.
    let eps = changed(&config, json!({"rms_norm_eps": 1e-3}));
    assert_eq!(
        (eps.config.rms_norm_eps, mla(&eps).latent_norm_eps),
        (1e-3, 1e-6)
    );
    refused(
        &config,
        &[(json!({"qk_rope_head_dim": 7}), "an even width")],
    );
}

#[test]
fn rope_pairs_stand_side_by_side_unless_v3_says_otherwise() {
    let v3 = golden_config("tiny-v3");
    let adjacent = |config: &Value, changes| changed(config, changes).adjacent_rope_pairs;
    assert!(adjacent(&v3, json!({"rope_interleave": "absent"})));
    assert!(!adjacent(&v3, json!({"rope_interleave": false})));
    assert!(adjacent(
        &golden_config("tiny-v2"),
        json!({"rope_interleave": false})
    ));
    assert!(!adjacent(&golden_config("tiny-llama"), json!({})));
}
