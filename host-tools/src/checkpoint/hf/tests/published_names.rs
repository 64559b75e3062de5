//! Families without a golden checkpoint: their tensors under published names.

use briquette_engine::blob::Role;
use serde_json::{Value, json};

use super::{Stored, folder, golden_config, refusal, with};
use crate::checkpoint::hf::open;
use crate::checkpoint::{Encoding, ImportError, Rows, TensorId};

/// Every tensor is needed: a folder without one of them is refused by its name.
fn expect_exactly(config: &Value, names: &[(String, Vec<u64>)]) {
    let stored = |(at, (name, shape)): (usize, &(String, Vec<u64>))| {
        Stored::counting(name.clone(), shape, (at * 1000) as f32)
    };
    let tensors: Vec<Stored> = names.iter().enumerate().map(stored).collect();
    let whole = folder(config, &tensors);
    let mut checkpoint = open(whole.path()).unwrap();
    checkpoint.weights_mut().check().unwrap();
    for without in 0..tensors.len() {
        let mut tensors = tensors.clone();
        let removed = tensors.remove(without).name;
        let folder = folder(config, &tensors);
        let error = refusal(folder.path());
        assert!(
            matches!(&error, ImportError::MissingTensor { tensor } if *tensor == removed),
            "{removed}: {error}"
        );
    }
}

fn named(list: &[(&str, &[u64])]) -> Vec<(String, Vec<u64>)> {
    let entry = |(name, shape): &(&str, &[u64])| ((*name).to_owned(), shape.to_vec());
    list.iter().map(entry).collect()
}

/// The model's own tensors and those of one layer of grouped attention:
/// 4 heads of 4, 2 for keys and values, hidden size 16.
fn grouped(more: &[(&str, &[u64])]) -> Vec<(String, Vec<u64>)> {
    let mut names = named(&[
        ("model.embed_tokens.weight", &[32, 16]),
        ("model.norm.weight", &[16]),
        ("lm_head.weight", &[32, 16]),
    ]);
    let layer = named(&[
        ("input_layernorm.weight", &[16]),
        ("self_attn.q_proj.weight", &[16, 16]),
        ("self_attn.k_proj.weight", &[8, 16]),
        ("self_attn.v_proj.weight", &[8, 16]),
        ("self_attn.o_proj.weight", &[16, 16]),
        ("post_attention_layernorm.weight", &[16]),
    ]);
    let layer = layer.into_iter().chain(named(more));
    names.extend(layer.map(|(name, shape)| (format!("model.layers.0.{name}"), shape)));
    names
}

const DENSE: [(&str, &[u64]); 3] = [
    ("mlp.gate_proj.weight", &[24, 16]),
    ("mlp.up_proj.weight", &[24, 16]),
    ("mlp.down_proj.weight", &[16, 24]),
];

fn config(architecture: &str, more: Value) -> Value {
    let config = json!({
        "architectures": [architecture],
        "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 2,
        "num_experts_per_tok": 1,
    });
    with(&config, more)
}

const MIXTRAL_EXPERTS: [(&str, &[u64]); 7] = [
    ("block_sparse_moe.gate.weight", &[2, 16]),
    ("block_sparse_moe.experts.0.w1.weight", &[24, 16]),
    ("block_sparse_moe.experts.0.w2.weight", &[16, 24]),
    ("block_sparse_moe.experts.0.w3.weight", &[24, 16]),
    ("block_sparse_moe.experts.1.w1.weight", &[24, 16]),
    ("block_sparse_moe.experts.1.w2.weight", &[16, 24]),
    ("block_sparse_moe.experts.1.w3.weight", &[24, 16]),
];

#[test]
fn mixtral_s_experts_are_numbered_projections() {
    let config = config("MixtralForCausalLM", json!({}));
    let names = grouped(&MIXTRAL_EXPERTS);
    expect_exactly(&config, &names);

    let tensors: Vec<Stored> = names
        .iter()
        .map(|(name, shape)| {
            let first = f32::from(name.ends_with("w1.weight"))
                + 3.0 * f32::from(name.ends_with("w3.weight"));
            Stored::counting(name.clone(), shape, first * 1000.0)
        })
        .collect();
    let folder = folder(&config, &tensors);
    let mut checkpoint = open(folder.path()).unwrap();
    for (role, first) in [
        (Role::ExpertGate, 1000.0),
        (Role::ExpertUp, 3000.0),
        (Role::ExpertDown, 0.0),
    ] {
        let mut rows = Rows::default();
        let id = TensorId { role, layer: 0 };
        checkpoint
            .weights_mut()
            .read(id, 1, 0..1, &mut rows)
            .unwrap();
        assert_eq!(rows.values[0], first, "{role:?}");
    }
}

#[test]
fn mixtral_s_experts_may_be_fused() {
    let config = config("MixtralForCausalLM", json!({}));
    expect_exactly(
        &config,
        &grouped(&[
            ("mlp.gate.weight", &[2, 16]),
            ("mlp.experts.gate_up_proj", &[2, 48, 16]),
            ("mlp.experts.down_proj", &[2, 16, 24]),
        ]),
    );
}

#[test]
fn fused_experts_hold_gate_before_up() {
    let config = config("Qwen3MoeForCausalLM", json!({"moe_intermediate_size": 24}));
    let mut names = grouped(&[
        ("self_attn.q_norm.weight", &[4]),
        ("self_attn.k_norm.weight", &[4]),
        ("mlp.gate.weight", &[2, 16]),
        ("mlp.experts.gate_up_proj", &[2, 48, 16]),
        ("mlp.experts.down_proj", &[2, 16, 24]),
    ]);
    expect_exactly(&config, &names);
    names.retain(|(name, _)| name.contains("experts"));
    let counting = |(name, shape): &(String, Vec<u64>)| Stored::counting(name.clone(), shape, 0.0);
    let tensors: Vec<Stored> = names.iter().map(counting).collect();
    let folder = folder(&config, &tensors);
    let mut checkpoint = open(folder.path()).unwrap();
    let mut first = |role, index, row: u32| {
        let mut rows = Rows::default();
        let id = TensorId { role, layer: 0 };
        checkpoint
            .weights_mut()
            .read(id, index, row..row + 1, &mut rows)
            .unwrap();
        rows.values[0]
    };
    assert_eq!(first(Role::ExpertGate, 0, 0), 0.0);
    assert_eq!(first(Role::ExpertUp, 0, 1), 25.0 * 16.0);
    assert_eq!(first(Role::ExpertGate, 1, 2), 50.0 * 16.0);
    assert_eq!(first(Role::ExpertUp, 1, 0), 72.0 * 16.0);
    assert_eq!(first(Role::ExpertDown, 1, 3), 19.0 * 24.0);
}

#[test]
fn qwen2_has_three_biases_and_llama_may_have_seven() {
    let qkv: [(&str, &[u64]); 3] = [
        ("self_attn.q_proj.bias", &[16]),
        ("self_attn.k_proj.bias", &[8]),
        ("self_attn.v_proj.bias", &[8]),
    ];
    let names = grouped(&[&DENSE[..], &qkv].concat());
    expect_exactly(&config("Qwen2ForCausalLM", json!({})), &names);
    let others: [(&str, &[u64]); 4] = [
        ("self_attn.o_proj.bias", &[16]),
        ("mlp.gate_proj.bias", &[24]),
        ("mlp.up_proj.bias", &[24]),
        ("mlp.down_proj.bias", &[16]),
    ];
    let all = json!({"attention_bias": true, "mlp_bias": true});
    let names = grouped(&[&DENSE[..], &qkv, &others].concat());
    expect_exactly(&config("LlamaForCausalLM", all), &names);
}

#[test]
fn tied_and_normed_models_have_what_they_need() {
    let mut names = grouped(&DENSE);
    expect_exactly(&config("MistralForCausalLM", json!({})), &names);
    names.retain(|(name, _)| name != "lm_head.weight");
    let tied = config("LlamaForCausalLM", json!({"tie_word_embeddings": true}));
    expect_exactly(&tied, &names);
    let norms: [(&str, &[u64]); 2] = [
        ("self_attn.q_norm.weight", &[4]),
        ("self_attn.k_norm.weight", &[4]),
    ];
    let qwen3 = config("Qwen3ForCausalLM", json!({"head_dim": 4}));
    expect_exactly(&qwen3, &grouped(&[&DENSE[..], &norms].concat()));
}

/// One layer of latent attention with all its biases and a mixture of experts.
fn biased_v2() -> (Value, Vec<(String, Vec<u64>)>) {
    let config = with(
        &golden_config("tiny-v2"),
        json!({
            "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "first_k_dense_replace": 0,
            "num_attention_heads": 2, "q_lora_rank": 6, "kv_lora_rank": 5, "qk_nope_head_dim": 3,
            "qk_rope_head_dim": 4, "v_head_dim": 2, "n_routed_experts": 1, "num_experts_per_tok": 1,
            "moe_intermediate_size": 7, "n_shared_experts": 2, "attention_bias": true,
            "mlp_bias": true,
        }),
    );
    let layer = named(&[
        ("input_layernorm.weight", &[16]),
        ("self_attn.q_a_proj.weight", &[6, 16]),
        ("self_attn.q_a_proj.bias", &[6]),
        ("self_attn.q_a_layernorm.weight", &[6]),
        ("self_attn.q_b_proj.weight", &[14, 6]),
        ("self_attn.kv_a_proj_with_mqa.weight", &[9, 16]),
        ("self_attn.kv_a_proj_with_mqa.bias", &[9]),
        ("self_attn.kv_a_layernorm.weight", &[5]),
        ("self_attn.kv_b_proj.weight", &[10, 5]),
        ("self_attn.o_proj.weight", &[16, 4]),
        ("self_attn.o_proj.bias", &[16]),
        ("post_attention_layernorm.weight", &[16]),
        ("mlp.gate.weight", &[1, 16]),
        ("mlp.experts.0.gate_proj.weight", &[7, 16]),
        ("mlp.experts.0.up_proj.weight", &[7, 16]),
        ("mlp.experts.0.down_proj.weight", &[16, 7]),
        ("mlp.shared_experts.gate_proj.weight", &[14, 16]),
        ("mlp.shared_experts.up_proj.weight", &[14, 16]),
        ("mlp.shared_experts.down_proj.weight", &[16, 14]),
        ("mlp.shared_experts.gate_proj.bias", &[14]),
        ("mlp.shared_experts.up_proj.bias", &[14]),
        ("mlp.shared_experts.down_proj.bias", &[16]),
    ]);
    let mut names = named(&[
        ("model.embed_tokens.weight", &[32, 16]),
        ("model.norm.weight", &[16]),
        ("lm_head.weight", &[32, 16]),
    ]);
    names.extend(
        layer
            .into_iter()
            .map(|(name, shape)| (format!("model.layers.0.{name}"), shape)),
    );
    (config, names)
}

#[test]
fn a_biased_v2_needs_its_biases() {
    let (mut config, mut names) = biased_v2();
    expect_exactly(&config, &names);
    config["mlp_bias"] = json!(false);
    names.retain(|(name, _)| !name.contains("mlp.") || !name.ends_with("bias"));
    expect_exactly(&config, &names);
}

#[test]
fn the_bias_of_the_rotated_key_is_split_too() {
    let (config, names) = biased_v2();
    let counting = |(name, shape): &(String, Vec<u64>)| Stored::counting(name.clone(), shape, 0.0);
    let tensors: Vec<Stored> = names.iter().map(counting).collect();
    let folder = folder(&config, &tensors);
    let mut checkpoint = open(folder.path()).unwrap();
    let mut rows = Rows::default();
    let id = TensorId {
        role: Role::KvABias,
        layer: 0,
    };
    checkpoint
        .weights_mut()
        .read(id, 0, 0..1, &mut rows)
        .unwrap();
    assert_eq!(rows.values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 6.0, 8.0]);
    // Two heads of 3 + 4 rows.
    let id = TensorId {
        role: Role::QueryB,
        layer: 0,
    };
    checkpoint
        .weights_mut()
        .read(id, 0, 0..14, &mut rows)
        .unwrap();
    let order: Vec<f32> = rows.values.chunks(6).map(|row| row[0] / 6.0).collect();
    let expected = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 12, 11, 13].map(|row: u8| f32::from(row));
    assert_eq!(order, expected);
}

#[test]
fn fp8_weights_are_checked_with_their_scales() {
    let quantization = json!({"quant_method": "fp8", "weight_block_size": [16, 16]});
    let config = config(
        "MistralForCausalLM",
        json!({ "quantization_config": quantization }),
    );
    let counting = |(name, shape): &(String, Vec<u64>)| Stored::counting(name.clone(), shape, 0.0);
    let mut tensors: Vec<Stored> = grouped(&DENSE).iter().map(counting).collect();
    let quantised = "model.layers.0.mlp.up_proj.weight";
    for tensor in tensors.iter_mut().filter(|tensor| tensor.name == quantised) {
        tensor.dtype = "F8_E4M3";
        tensor.bytes = vec![0x38; 24 * 16];
    }
    let without = folder(&config, &tensors);
    let error = refusal(without.path());
    assert!(
        matches!(&error, ImportError::MissingTensor { tensor }
            if *tensor == format!("{quantised}_scale_inv")),
        "{error}"
    );
    tensors.push(Stored::f32(
        format!("{quantised}_scale_inv"),
        &[2, 1],
        &[0.5, 3.0],
    ));
    let folder = folder(&config, &tensors);
    let mut checkpoint = open(folder.path()).unwrap();
    checkpoint.weights_mut().check().unwrap();
    let id = TensorId {
        role: Role::Up,
        layer: 0,
    };
    let mut rows = Rows::default();
    checkpoint
        .weights_mut()
        .read(id, 0, 15..17, &mut rows)
        .unwrap();
    assert_eq!(rows.values, [[0.5; 16], [3.0; 16]].concat());
    assert_eq!(
        checkpoint.weights_mut().encoding(id),
        Some(Encoding::F8_E4M3)
    );
}

#[test]
fn types_that_are_not_weights_are_refused_before_anything_is_read() {
    let config = config("MistralForCausalLM", json!({}));
    let counting = |(name, shape): &(String, Vec<u64>)| Stored::counting(name.clone(), shape, 0.0);
    let mut tensors: Vec<Stored> = grouped(&DENSE).iter().map(counting).collect();
    for tensor in tensors
        .iter_mut()
        .filter(|tensor| tensor.name == "lm_head.weight")
    {
        tensor.dtype = "I32";
    }
    let folder = folder(&config, &tensors);
    let error = refusal(folder.path());
    assert!(
        error.to_string().contains("I32 of tensor `lm_head.weight`"),
        "{error}"
    );
}

#[test]
fn known_leftovers_are_left_out() {
    let config = config("MistralForCausalLM", json!({}));
    let mut names = grouped(&DENSE);
    names.extend(named(&[
        ("model.layers.0.self_attn.rotary_emb.inv_freq", &[2]),
        ("model.layers.1.enorm.weight", &[16]),
    ]));
    let counting = |(name, shape): &(String, Vec<u64>)| Stored::counting(name.clone(), shape, 0.0);
    let tensors: Vec<Stored> = names.iter().map(counting).collect();
    let folder = folder(&config, &tensors);
    open(folder.path()).unwrap().weights_mut().check().unwrap();
}
