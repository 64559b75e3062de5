//! Tensors that nothing reads.

use briquette_engine::blob::Role;

use super::{Stored, folder, llama, refusal};
use crate::checkpoint::hf::open;
use crate::checkpoint::{Rows, TensorId};

fn refusal_of(name: &str, tie: bool) -> Option<String> {
    let (config, mut tensors) = llama(tie);
    tensors.push(Stored::counting(name, &[16], 0.0));
    let folder = folder(&config, &tensors);
    let mut checkpoint = open(folder.path()).unwrap();
    let error = checkpoint.weights_mut().check().err()?;
    let text = error.to_string();
    assert!(text.contains(&format!("`{name}`")), "{text}");
    Some(text)
}

#[test]
fn tensors_that_change_the_result_are_refused_by_name() {
    for (name, expected) in [
        (
            "model.layers.0.self_attn.q_norm.weight",
            "norms that its architecture does not have",
        ),
        (
            "model.layers.0.self_attn.q_proj.bias",
            "biases that the configuration",
        ),
        (
            "model.layers.0.mlp.up_proj.bias",
            "biases that the configuration",
        ),
        ("lm_head.bias", "biases that the configuration"),
        (
            "model.layers.0.mlp.up_proj.weight_scale",
            "factors on the weights",
        ),
        (
            "model.layers.0.mlp.up_proj.weight_scale_inv",
            "factors on the weights",
        ),
        (
            "model.layers.0.mlp.up_proj.input_scale",
            "factors on the weights",
        ),
        ("model.layers.0.self_attn.k_scale", "factors on the weights"),
        (
            "model.layers.0.self_attn.q_proj.lora_A.weight",
            "adapters (LoRA)",
        ),
        (
            "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight",
            "adapters (LoRA)",
        ),
        (
            "model.layers.0.mlp.up_proj.g_idx",
            "quantised by another program",
        ),
        (
            "model.layers.0.mlp.gate.weight",
            "unknown to its architecture",
        ),
        (
            "model.embed_positions.weight",
            "unknown to its architecture",
        ),
        ("something_else", "unknown to its architecture"),
    ] {
        let text = refusal_of(name, false).unwrap_or_else(|| panic!("{name} was ignored"));
        assert!(text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn what_changes_nothing_may_be_left_over() {
    for name in [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.rotary_emb.inv_freq",
        "model.layers.0.self_attn.masked_bias",
        "model.layers.1.mlp.up_proj.weight",
        "vision_tower.encoder.layers.0.norm.weight",
        "model.visual.blocks.0.attn.qkv.bias",
        "multi_modal_projector.linear_1.bias",
    ] {
        assert_eq!(refusal_of(name, true), None, "{name}");
    }
}

#[test]
fn a_long_list_is_counted() {
    let (config, mut tensors) = llama(false);
    for layer in 0..9 {
        tensors.push(Stored::counting(format!("x.{layer}.scale"), &[1], 1.0));
    }
    let folder = folder(&config, &tensors);
    let error = refusal(folder.path());
    let text = error.to_string();
    let expected = "`x.0.scale`, `x.1.scale`, `x.2.scale`, `x.3.scale` and 5 more";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn what_stands_in_the_place_of_weights_is_named() {
    for (ending, expected) in [
        ("qweight", "quantised by another program"),
        ("lora_A.default.weight", "adapters (LoRA)"),
        ("wait", "is missing from the checkpoint"),
    ] {
        let (config, mut tensors) = llama(false);
        let tensor = tensors
            .iter_mut()
            .find(|t| t.name.ends_with("up_proj.weight"))
            .unwrap();
        tensor.name = tensor.name.replace("weight", ending);
        let folder = folder(&config, &tensors);
        let error = refusal(folder.path());
        assert!(error.to_string().contains(expected), "{ending}: {error}");
    }
}

fn row(folder: &std::path::Path, role: Role) -> Option<Vec<f32>> {
    let mut checkpoint = open(folder).unwrap();
    let weights = checkpoint.weights_mut();
    weights.check().unwrap();
    let id = TensorId { role, layer: 0 };
    weights.shape(id)?;
    let mut rows = Rows::default();
    weights.read(id, 0, 1..2, &mut rows).unwrap();
    Some(rows.values)
}

/// As `tie_weights` of transformers 5.24 does it.
#[test]
fn a_tied_head_may_be_stored_under_either_name_or_both() {
    let (config, tensors) = llama(true);
    let embedding = row(folder(&config, &tensors).path(), Role::Embedding);

    let mut head_only = tensors.clone();
    head_only[0].name = "lm_head.weight".to_owned();
    let head_only = folder(&config, &head_only);
    assert_eq!(row(head_only.path(), Role::Embedding), embedding);
    assert_eq!(row(head_only.path(), Role::LmHead), None);

    let mut both = tensors.clone();
    both.push(Stored {
        name: "lm_head.weight".to_owned(),
        ..tensors[0].clone()
    });
    let both = folder(&config, &both);
    assert_eq!(row(both.path(), Role::Embedding), embedding);
    assert_eq!(row(both.path(), Role::LmHead), None);

    let mut different = tensors;
    different.push(Stored::counting("lm_head.weight", &[32, 16], 5.0));
    let different = folder(&config, &different);
    assert_eq!(row(different.path(), Role::Embedding), embedding);
    let head: Vec<f32> = (0..16).map(|at| 5.0 + 16.0 + at as f32).collect();
    assert_eq!(row(different.path(), Role::LmHead), Some(head));
}

#[test]
fn an_untied_model_needs_both() {
    let (config, mut tensors) = llama(false);
    tensors.remove(0);
    let folder = folder(&config, &tensors);
    let error = refusal(folder.path());
    assert!(
        error
            .to_string()
            .contains("`model.embed_tokens.weight` is missing"),
        "{error}"
    );
}
