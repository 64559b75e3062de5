//! Tests over whole folders, and what they share.

mod bad_files;
mod defaults;
mod forms;
mod fp8;
mod golden;
mod options;
mod published_names;
mod rope;
mod sharded;
mod special_tokens;
mod strangers;
mod unread;

use std::fs;
use std::path::{Path, PathBuf};

use briquette_engine::blob::{Attention, Gqa, Mla};
use serde_json::{Map, Value, json};

use super::architecture::Architecture;
use super::keys::Keys;
use super::settings::Description;
use crate::checkpoint::ImportError;

/// A tensor of a file that a test writes.
#[derive(Debug, Clone)]
struct Stored {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

impl Stored {
    fn f32(name: impl Into<String>, shape: &[u64], values: &[f32]) -> Self {
        Self {
            name: name.into(),
            dtype: "F32",
            shape: shape.to_vec(),
            bytes: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }

    /// Numbers that differ between tensors: they count on from `first`.
    fn counting(name: impl Into<String>, shape: &[u64], first: f32) -> Self {
        let len = shape.iter().product::<u64>();
        let values: Vec<f32> = (0..len).map(|at| first + at as f32).collect();
        Self::f32(name, shape, &values)
    }
}

/// A safetensors file by the format's definition, not by a library.
fn safetensors(tensors: &[Stored]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data: Vec<u8> = Vec::new();
    for tensor in tensors {
        let start = data.len();
        data.extend(&tensor.bytes);
        let entry = json!({
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [start, data.len()],
        });
        header.insert(tensor.name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// A folder with a configuration and one file of weights.
fn folder(config: &Value, tensors: &[Stored]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let weights = safetensors(tensors);
    fs::write(folder.path().join("model.safetensors"), weights).unwrap();
    folder
}

/// What is wrong with the weights of a folder that opens.
fn refusal(folder: &Path) -> ImportError {
    let mut checkpoint = super::open(folder).unwrap();
    checkpoint.weights_mut().check().unwrap_err()
}

/// A small Llama, its head tied to its embedding or stored.
fn llama(tie: bool) -> (Value, Vec<Stored>) {
    let mut config = small("LlamaForCausalLM");
    config["num_hidden_layers"] = json!(1);
    config["tie_word_embeddings"] = json!(tie);
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let mut tensors = vec![
        Stored::counting("model.embed_tokens.weight", &[32, 16], 0.0),
        Stored::counting("model.norm.weight", &[16], 1.0),
        Stored::counting(layer("input_layernorm"), &[16], 2.0),
        Stored::counting(layer("post_attention_layernorm"), &[16], 3.0),
        Stored::counting(layer("self_attn.q_proj"), &[16, 16], 4.0),
        Stored::counting(layer("self_attn.k_proj"), &[8, 16], 5.0),
        Stored::counting(layer("self_attn.v_proj"), &[8, 16], 6.0),
        Stored::counting(layer("self_attn.o_proj"), &[16, 16], 7.0),
        Stored::counting(layer("mlp.gate_proj"), &[24, 16], 8.0),
        Stored::counting(layer("mlp.up_proj"), &[24, 16], 9.0),
        Stored::counting(layer("mlp.down_proj"), &[16, 24], 10.0),
    ];
    if !tie {
        tensors.push(Stored::counting("lm_head.weight", &[32, 16], 11.0));
    }
    (config, tensors)
}

/// What a configuration makes without any weights.
fn decode(config: &Value) -> Result<Description, ImportError> {
    let keys = Keys::new(Path::new("config.json"), config)?;
    Architecture::detect(keys)?.read(keys)
}

fn golden_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden")
        .join(name)
}

fn golden_config(name: &str) -> Value {
    let text = fs::read_to_string(golden_folder(name).join("config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The configuration with other values for some keys; `"absent"` removes one.
fn with(config: &Value, changes: Value) -> Value {
    let mut changed = config.clone();
    for (key, value) in changes.as_object().unwrap() {
        if value == "absent" {
            changed.as_object_mut().unwrap().remove(key);
        } else {
            changed[key] = value.clone();
        }
    }
    changed
}

fn changed(config: &Value, changes: Value) -> Description {
    decode(&with(config, changes)).unwrap()
}

fn gqa(description: &Description) -> Gqa {
    match description.config.attention {
        Attention::Gqa(gqa) => gqa,
        Attention::Mla(_) => panic!("latent attention"),
    }
}

fn mla(description: &Description) -> Mla {
    match description.config.attention {
        Attention::Mla(mla) => mla,
        Attention::Gqa(_) => panic!("grouped attention"),
    }
}

/// A small configuration of a family without a golden checkpoint.
fn small(architecture: &str) -> Value {
    json!({
        "architectures": [architecture],
        "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    })
}
