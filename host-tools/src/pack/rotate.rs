//! Rotating the latent of MLA, in the weights.
//!
//! Four-bit cache rows need numbers of similar size. A Hadamard rotation `H`
//! ([`hadamard`]) gives them that, and costs nothing when the model runs, since
//! the latent is made by one matrix and used by two (QuaRot, Ashkboos et al.
//! 2024, on the cache of DeepSeek-V2, section 2.1):
//!
//! ```text
//! latent = norm * c / rms(c)      c = kv_a x
//! ```
//!
//! The norm's weights move into `W_UK` and `W_UV`, where they scale the latent's
//! columns. What is left of the norm does not care about rotation: `rms(H c) =
//! rms(c)`. So `kv_a` becomes `H kv_a`, the norm all ones, and both others
//! undo the rotation: `W diag(norm) H^T`. The model computes what it computed.

use briquette_engine::Isa;
use briquette_engine::blob::{Attention, ModelConfig, Role};
use briquette_engine::kernels::hadamard;
use briquette_engine::quant::KvFormat;

use crate::checkpoint::{ImportError, Rows, TensorId, Weights};

/// The rotation of one model's latents.
pub(super) struct LatentRotation {
    rank: usize,
    isa: Isa,
    /// The weights of a layer's norm, which the matrices of all its heads need.
    norm: Option<(u32, Vec<f32>)>,
}

impl LatentRotation {
    /// `None` if the cache is wider than four bits or holds no latents.
    pub(super) fn new(config: &ModelConfig, kv: KvFormat) -> Option<Self> {
        match (config.attention, kv) {
            (Attention::Mla(mla), KvFormat::Q4) => Some(Self {
                rank: mla.kv_lora_rank as usize,
                isa: Isa::detect(),
                norm: None,
            }),
            _ => None,
        }
    }

    /// Whether all rows of the tensor are needed at once.
    pub(super) const fn mixes_rows(role: Role) -> bool {
        matches!(role, Role::KvA | Role::KeyUp)
    }

    /// Changes `rows` of a tensor of layer `id.layer`; leaves most tensors alone.
    pub(super) fn apply(
        &mut self,
        weights: &mut Weights,
        id: TensorId,
        rows: &mut Rows,
    ) -> Result<(), ImportError> {
        match id.role {
            Role::KvANorm => rows.values.fill(1.0),
            Role::KvABias => hadamard::rotate(self.isa, &mut rows.values[..self.rank]),
            Role::KvA => self.rotate_columns(rows),
            Role::KeyUp => {
                let norm = self.norm(weights, id)?;
                for (row, norm) in rows.values.chunks_mut(rows.cols).zip(norm) {
                    row.iter_mut().for_each(|value| *value *= norm);
                }
                self.rotate_columns(rows);
            }
            Role::ValueUp => {
                let isa = self.isa;
                let norm = self.norm(weights, id)?;
                for row in rows.values.chunks_mut(rows.cols) {
                    for (value, norm) in row.iter_mut().zip(norm) {
                        *value *= norm;
                    }
                    hadamard::rotate(isa, row);
                }
            }
            _ => return Ok(()),
        }
        // The source's grids are those of other numbers.
        rows.grids.clear();
        Ok(())
    }

    /// Rotates the first `rank` numbers of each column.
    fn rotate_columns(&self, rows: &mut Rows) {
        let mut column = vec![0.0; self.rank];
        for first in 0..rows.cols {
            for (number, row) in column.iter_mut().zip(rows.values.chunks(rows.cols)) {
                *number = row[first];
            }
            hadamard::rotate(self.isa, &mut column);
            for (number, row) in column.iter().zip(rows.values.chunks_mut(rows.cols)) {
                row[first] = *number;
            }
        }
    }
    /// The weights of the norm of the latents in the layer of `id`.
    fn norm(&mut self, weights: &mut Weights, id: TensorId) -> Result<&[f32], ImportError> {
        let read = match self.norm.take() {
            Some((layer, values)) if layer == id.layer => values,
            _ => {
                let role = Role::KvANorm;
                let mut rows = Rows::default();
                weights.read(TensorId { role, ..id }, 0, 0..1, &mut rows)?;
                rows.values
            }
        };
        Ok(&self.norm.insert((id.layer, read)).1)
    }
}
