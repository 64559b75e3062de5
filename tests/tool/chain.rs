//! Small checkpoints whose next token follows from the last one alone: an
//! embedding of unit vectors, one layer that adds nothing, and a head that says
//! what follows what. So a test decides every word of an answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// A vocabulary of all bytes, some words, and some special tokens.
pub struct Chain {
    pub words: Vec<String>,
    pub special: Vec<&'static str>,
    template: String,
    steps: Vec<(u32, u32)>,
}

pub const END: &str = "<|end|>";

impl Chain {
    pub fn new(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            special: vec!["<|begin|>", END],
            template: "{{ messages[0].content }}".into(),
            steps: Vec::new(),
        }
    }

    pub fn special(mut self, tokens: &[&'static str]) -> Self {
        self.special.extend(tokens);
        self
    }

    pub fn template(mut self, source: &str) -> Self {
        self.template = source.into();
        self
    }

    /// Lets each of these tokens be followed by the next.
    pub fn follow(mut self, tokens: &[&str]) -> Self {
        let ids: Vec<u32> = tokens.iter().map(|token| self.id(token)).collect();
        self.steps
            .extend(ids.windows(2).map(|pair| (pair[0], pair[1])));
        self
    }

    pub fn id(&self, token: &str) -> u32 {
        let special = self.special.iter().position(|name| *name == token);
        let word = self.words.iter().position(|word| word == token);
        let index = match (special, word, token.as_bytes()) {
            (Some(index), ..) => 256 + self.words.len() + index,
            (None, Some(index), _) => 256 + index,
            (None, None, [byte]) => usize::from(*byte),
            _ => panic!("{token}"),
        };
        index as u32
    }

    /// Writes a Hugging Face folder.
    pub fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let count = 256 + self.words.len() + self.special.len();
        // Rotations take pairs.
        let width = count.next_multiple_of(2);
        fs::write(folder.join("model.safetensors"), self.weights(width)).unwrap();
        for (name, value) in [
            ("config.json", self.config(width)),
            ("tokenizer.json", self.tokenizer()),
            (
                "tokenizer_config.json",
                json!({
                    "bos_token": "<|begin|>", "eos_token": END,
                    "chat_template": self.template,
                }),
            ),
        ] {
            fs::write(folder.join(name), value.to_string()).unwrap();
        }
    }

    fn weights(&self, width: usize) -> Vec<u8> {
        let unit = |row: usize, column: usize| if row == column { 1.0 } else { 0.0 };
        let follows = |row: usize, column: usize| {
            let is_step = self.steps.contains(&(column as u32, row as u32));
            if is_step { 4.0 } else { 0.0 }
        };
        let zero = |_, _| 0.0;
        let one = |_, _| 1.0;
        let matrix = |rows: usize, columns: usize, value: &dyn Fn(usize, usize) -> f32| {
            let values = (0..rows * columns).map(|i| value(i / columns, i % columns));
            values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()
        };
        let layer = |name: &str| format!("model.layers.0.{name}.weight");
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: Vec<usize>, value: &dyn Fn(usize, usize) -> f32| {
            let columns = *shape.last().unwrap();
            let rows = shape.iter().product::<usize>() / columns;
            tensors.insert(name, (matrix(rows, columns, value), shape));
        };
        let square = vec![width, width];
        add("model.embed_tokens.weight".into(), square.clone(), &unit);
        add("lm_head.weight".into(), square.clone(), &follows);
        add("model.norm.weight".into(), vec![width], &one);
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(layer(norm), vec![width], &one);
        }
        for projection in ["q", "k", "v", "o"] {
            let name = layer(&format!("self_attn.{projection}_proj"));
            add(name, square.clone(), &zero);
        }
        for projection in ["gate", "up"] {
            add(
                layer(&format!("mlp.{projection}_proj")),
                vec![32, width],
                &zero,
            );
        }
        add(layer("mlp.down_proj"), vec![width, 32], &zero);
        let views = tensors.iter().map(|(name, (bytes, shape))| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
            (name.as_str(), view)
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn config(&self, width: usize) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "vocab_size": width, "hidden_size": width, "intermediate_size": 32,
            "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "tie_word_embeddings": false, "eos_token_id": self.id(END),
        })
    }

    fn tokenizer(&self) -> Value {
        let words = self.words.iter().map(|word| alphabet(word.as_bytes()));
        let bytes = (0..=255_u8).map(|byte| alphabet(&[byte]));
        let vocab: serde_json::Map<_, _> = bytes
            .chain(words)
            .enumerate()
            .map(|(id, token)| (token, id.into()))
            .collect();
        let added: Vec<Value> = self
            .special
            .iter()
            .map(|name| {
                json!({
                    "id": self.id(name), "content": name, "special": true, "normalized": false,
                    "single_word": false, "lstrip": false, "rstrip": false,
                })
            })
            .collect();
        json!({
            "model": { "type": "BPE", "vocab": vocab, "merges": [] },
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "use_regex": true },
            "decoder": { "type": "ByteLevel" },
        })
    }
}

/// GPT-2's way to write bytes as letters.
fn alphabet(bytes: &[u8]) -> String {
    let is_printed = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let letter = |byte: u8| {
        let unprinted = (0..byte).filter(|byte| !is_printed(*byte)).count() as u32;
        let code = if is_printed(byte) {
            byte.into()
        } else {
            256 + unprinted
        };
        char::from_u32(code).unwrap()
    };
    bytes.iter().map(|byte| letter(*byte)).collect()
}
