//! The golden checkpoints: both spellings of their configurations, and the
//! rows that they hold, found by another path.

use std::collections::HashMap;
use std::fs;

use briquette_engine::blob::{Attention, LayerKind, Role, Scoring};
use serde_json::Value;

use super::{golden_config, golden_folder};
use crate::checkpoint::hf::{HuggingFace, open};
use crate::checkpoint::{Rows, TensorId};

const NAMES: [&str; 5] = [
    "tiny-v2",
    "tiny-v2-fused",
    "tiny-v3",
    "tiny-llama",
    "tiny-qwen3moe",
];

fn opened(name: &str) -> HuggingFace {
    open(&golden_folder(name)).unwrap()
}

fn read_all(checkpoint: &mut HuggingFace, id: TensorId, index: u32) -> Rows {
    let rows = checkpoint.weights_mut().shape(id).unwrap().rows;
    let mut out = Rows::default();
    let weights = checkpoint.weights_mut();
    weights.read(id, index, 0..rows, &mut out).unwrap();
    out
}

/// The file's tensors by the library's own reader.
fn stored(name: &str) -> HashMap<String, (Vec<usize>, Vec<f32>)> {
    let file = fs::read(golden_folder(name).join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let numbers = |data: &[u8]| {
        let chunks = data.as_chunks().0.iter();
        chunks.map(|&bytes| f32::from_le_bytes(bytes)).collect()
    };
    tensors
        .iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                (view.shape().to_vec(), numbers(view.data())),
            )
        })
        .collect()
}

#[test]
fn all_tensors_are_found() {
    for name in NAMES {
        let mut checkpoint = opened(name);
        checkpoint.weights_mut().check().unwrap();
        assert_eq!(checkpoint.model().name.as_deref(), Some(name));
    }
}

#[test]
fn all_weights_of_the_file_are_read_once() {
    for name in NAMES {
        let mut checkpoint = opened(name);
        let ids: Vec<TensorId> = checkpoint.weights_mut().ids().collect();
        let mut count = 0;
        let mut sum = 0.0;
        for id in ids {
            if id.role == Role::RopeInverseFrequency {
                continue;
            }
            for index in 0..checkpoint.weights_mut().shape(id).unwrap().count {
                let rows = read_all(&mut checkpoint, id, index);
                count += rows.values.len();
                sum += rows.values.iter().map(|&v| f64::from(v)).sum::<f64>();
            }
        }
        let stored = stored(name);
        let expected: usize = stored.values().map(|(_, values)| values.len()).sum();
        assert_eq!(count, expected, "{name}");
        let expected: f64 = stored
            .values()
            .flat_map(|(_, v)| v)
            .map(|&v| f64::from(v))
            .sum();
        assert!((sum - expected).abs() < 1e-6, "{name}: {sum} != {expected}");
    }
}

#[test]
fn published_configurations_load_alike() {
    for name in NAMES {
        let published = golden_folder(name).join("config.published.json");
        if !published.exists() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::copy(published, folder.path().join("config.json")).unwrap();
        let weights = "model.safetensors";
        fs::copy(
            golden_folder(name).join(weights),
            folder.path().join(weights),
        )
        .unwrap();
        let mut other = open(folder.path()).unwrap();
        other.weights_mut().check().unwrap();

        let (one, other) = (opened(name), other);
        let (one, other) = (one.model(), other.model());
        assert_eq!(one.architecture, other.architecture, "{name}");
        assert_eq!(one.config, other.config, "{name}");
        assert_eq!(one.layers, other.layers, "{name}");
        assert_eq!(
            one.rope_inverse_frequencies, other.rope_inverse_frequencies,
            "{name}"
        );
    }
}

#[test]
fn fused_experts_read_like_separate_ones() {
    let (mut separate, mut fused) = (opened("tiny-v2"), opened("tiny-v2-fused"));
    assert_eq!(separate.model().config, fused.model().config);
    let ids: Vec<TensorId> = separate.weights_mut().ids().collect();
    for id in ids {
        for index in 0..separate.weights_mut().shape(id).unwrap().count {
            let expected = read_all(&mut separate, id, index);
            assert_eq!(read_all(&mut fused, id, index), expected, "{id:?} {index}");
        }
    }
}

#[test]
fn v3_is_described_as_its_configuration_says() {
    let checkpoint = opened("tiny-v3");
    let config = checkpoint.model().config;
    // 24^(-1/2) * (0.1 ln 4 + 1)^2
    assert_eq!(config.softmax_scale, 0.264_642_26);
    assert_eq!(config.rope_attention_factor, 1.0);
    let Attention::Mla(mla) = config.attention else {
        panic!("no latent attention");
    };
    assert_eq!((mla.q_lora_rank, mla.kv_lora_rank), (Some(24), 32));
    assert_eq!(
        (mla.qk_nope_head_dim, mla.qk_rope_head_dim, mla.v_head_dim),
        (16, 8, 16)
    );
    assert_eq!((mla.latent_norm_eps, mla.bias), (1e-6, false));
    let moe = config.moe.unwrap();
    assert_eq!(
        (moe.num_experts, moe.top_k, moe.expert_size, moe.shared_size),
        (16, 4, 32, 32)
    );
    let router = moe.router;
    assert_eq!(router.scoring, Scoring::SigmoidWithBias);
    assert_eq!((router.num_groups, router.top_groups), (4, 2));
    assert_eq!((router.normalize, router.scale), (true, 2.5));
    let moe_layer = LayerKind(LayerKind::MOE);
    assert_eq!(
        checkpoint.model().layers,
        [LayerKind(0), moe_layer, moe_layer]
    );
}

#[test]
fn rope_pairs_are_split_in_query_and_key() {
    let (heads, nope, rope, latent) = (4, 16, 8, 32);
    let mut checkpoint = opened("tiny-v2");
    let stored = stored("tiny-v2");
    for (role, name, heads, plain) in [
        (Role::Query, "q_proj", heads, nope),
        (Role::KvA, "kv_a_proj_with_mqa", 1, latent),
    ] {
        let read = read_all(&mut checkpoint, TensorId { role, layer: 1 }, 0);
        let (shape, values) = &stored[&format!("model.layers.1.self_attn.{name}.weight")];
        let cols = shape[1];
        let same = |canonical: usize, stored: usize| {
            let range = |row: usize| row * cols..(row + 1) * cols;
            assert_eq!(
                read.values[range(canonical)],
                values[range(stored)],
                "{name} {canonical}"
            );
        };
        for head in 0..heads {
            let start = head * (plain + rope);
            (start..start + plain).for_each(|row| same(row, row));
            for pair in 0..rope / 2 {
                same(start + plain + pair, start + plain + 2 * pair);
                same(
                    start + plain + rope / 2 + pair,
                    start + plain + 2 * pair + 1,
                );
            }
        }
    }
}

#[test]
fn latent_projections_are_cut_out_head_by_head() {
    let (heads, nope, value, latent) = (4, 16, 16, 32);
    let mut checkpoint = opened("tiny-v3");
    let stored = stored("tiny-v3");
    let (_, kv_b) = &stored["model.layers.2.self_attn.kv_b_proj.weight"];
    for head in 0..heads {
        let id = |role| TensorId { role, layer: 2 };
        let key_up = read_all(&mut checkpoint, id(Role::KeyUp), head as u32);
        assert_eq!((key_up.cols, key_up.values.len()), (nope, latent * nope));
        let value_up = read_all(&mut checkpoint, id(Role::ValueUp), head as u32);
        assert_eq!(
            (value_up.cols, value_up.values.len()),
            (latent, value * latent)
        );
        let start = head * (nope + value);
        for k in 0..latent {
            for n in 0..nope {
                assert_eq!(key_up.values[k * nope + n], kv_b[(start + n) * latent + k]);
            }
            for v in 0..value {
                assert_eq!(
                    value_up.values[v * latent + k],
                    kv_b[(start + nope + v) * latent + k]
                );
            }
        }
    }
}

#[test]
fn the_tokenizer_s_files_are_at_hand() {
    let checkpoint = opened("tiny-v2");
    let json = checkpoint.tokenizer_json().unwrap().unwrap();
    let tokenizer: Value = serde_json::from_slice(&json).unwrap();
    assert!(tokenizer["model"]["vocab"].is_object());
    assert_eq!(
        checkpoint.tokenizer_config().unwrap()["bos_token"],
        "<|bos|>"
    );
    assert!(
        checkpoint
            .chat_template()
            .unwrap()
            .starts_with("{{ bos_token }}")
    );
    assert_eq!(checkpoint.eos_token_ids(), [1]);
    assert_eq!(checkpoint.special_token("bos_token"), Some("<|bos|>"));
    assert!(checkpoint.adds_bos_token());
    assert_eq!(checkpoint.config(), &golden_config("tiny-v2"));
    assert_eq!(checkpoint.generation_config().unwrap()["eos_token_id"], 1);
}
