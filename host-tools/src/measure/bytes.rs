//! Bytes and products of one token, counted from the tensor table.

use briquette_engine::Traffic;
use briquette_engine::blob::{Blob, ModelConfig, Role, TensorRecord};

/// Weight bytes that decoding one token reads, computed from the table: all
/// matrices and norms once, `top_k` experts per layer, one row of the embedding.
pub fn touched_weight_bytes(blob: &Blob<'_>) -> Traffic {
    let config = &blob.manifest().config;
    let mut touched = Traffic::default();
    for tensor in blob.model_tensors() {
        let record = tensor.record();
        match record.role {
            Role::RopeInverseFrequency => {}
            Role::Embedding => {
                touched.weights += tensor.matrix(0).map_or(0, |m| m.row_bytes() as u64);
                if config.tie_word_embeddings {
                    touched.weights += record.matrix_bytes();
                }
            }
            _ => touched.weights += record.matrix_bytes(),
        }
    }
    for layer in 0..config.num_hidden_layers as usize {
        for tensor in blob.layer_tensors(layer) {
            let record = tensor.record();
            let bytes = record.matrix_bytes() * uses(record, config);
            touched.weights += bytes;
            if record.role.is_expert() {
                touched.experts += bytes;
            }
        }
    }
    let rows = briquette_engine::kv::RowLayout::new(config, blob.manifest().kv);
    touched.kv = rows.row_bytes as u64 * u64::from(config.num_hidden_layers);
    touched
}

/// How many of a layer's tensors of this kind a token needs: `top_k` experts, every
/// other tensor once.
fn uses(record: &TensorRecord, config: &ModelConfig) -> u64 {
    if record.role.is_expert() {
        config.moe.map_or(0, |moe| u64::from(moe.top_k))
    } else {
        u64::from(record.count)
    }
}

/// Multiply-adds of one token with integer weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Products {
    /// In all layers, of chosen experts only.
    pub layers: u64,
    /// In the language-model head.
    pub head: u64,
}

impl Products {
    /// Computed from the table.
    pub fn of(blob: &Blob<'_>) -> Self {
        let config = &blob.manifest().config;
        let product = |record: &TensorRecord| {
            let is_integer = !record.role.is_vector() && record.format.is_integer();
            u64::from(is_integer) * u64::from(record.rows) * u64::from(record.cols)
        };
        let head = if config.tie_word_embeddings {
            Role::Embedding
        } else {
            Role::LmHead
        };
        let mut products = Self::default();
        for tensor in blob.model_tensors() {
            if tensor.record().role == head {
                products.head += product(tensor.record());
            }
        }
        for layer in 0..config.num_hidden_layers as usize {
            for tensor in blob.layer_tensors(layer) {
                let record = tensor.record();
                products.layers += product(record) * uses(record, config);
            }
        }
        products
    }
}

/// Layers with experts, without the one for multi-token prediction.
pub fn moe_layers(blob: &Blob<'_>) -> usize {
    blob.moe_layers(blob.manifest().config.num_hidden_layers as usize)
}
