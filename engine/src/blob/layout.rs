//! Where each tensor is: a function of the configuration and the formats.
//!
//! Tensors follow each other in [`Role`] order, each at a multiple of 64. A
//! layer's experts are side by side: gate, up and down of expert 0, then of
//! expert 1, and so on, so that touching an expert is one sequential read.
//! Writer and reader both walk [`Layout`]; a table that differs anywhere is
//! refused, so there are no gaps, no overlaps and no extents past the end.

use super::{LayerKind, ModelConfig, Role, Shape, TensorRecord, header::align, record};
use crate::quant::NumberFormat;

/// Yields the tensors that a model has, in file order.
#[derive(Debug, Clone)]
pub struct Layout<'a> {
    config: &'a ModelConfig,
    layers: &'a [u8],
    next_role: usize,
    layer: Option<u16>,
}

/// The next tensor that the file must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// What it is for.
    pub role: Role,
    /// Layer, or [`TensorRecord::MODEL`].
    pub layer: u16,
    /// Its shape.
    pub shape: Shape,
}

impl<'a> Layout<'a> {
    /// The tensors of a model with these layers (one kind byte each).
    pub const fn new(config: &'a ModelConfig, layers: &'a [u8]) -> Self {
        Self {
            config,
            layers,
            next_role: 0,
            layer: None,
        }
    }
}

impl Iterator for Layout<'_> {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        loop {
            let (roles, kind): (&[Role], _) = match self.layer {
                None => (&Role::MODEL, LayerKind::default()),
                Some(layer) => (
                    &Role::LAYER,
                    LayerKind(*self.layers.get(usize::from(layer))?),
                ),
            };
            let Some(role) = roles.get(self.next_role) else {
                self.next_role = 0;
                self.layer = Some(self.layer.map_or(0, |layer| layer + 1));
                continue;
            };
            self.next_role += 1;
            if let Some(shape) = self.config.shape(*role, kind) {
                return Some(Due {
                    role: *role,
                    layer: self.layer.unwrap_or(TensorRecord::MODEL),
                    shape,
                });
            }
        }
    }
}

impl Due {
    /// Bytes of one of the tensor's matrices, or of the vector.
    pub const fn matrix_bytes(&self, format: NumberFormat) -> u64 {
        record::matrix_bytes(self.role, format, self.shape.rows, self.shape.cols)
    }
}

/// Places tensors one after the other.
#[derive(Debug, Default)]
pub struct Placer {
    end: u64,
    /// Stride and end of the expert that is being placed.
    expert: Option<(u64, u64)>,
}

impl Placer {
    /// Places the next tensor. `expert_bytes` is the size of one whole expert
    /// (three matrices, each rounded up to 64); only used for experts.
    /// `None` if an offset overflows.
    pub fn place(
        &mut self,
        due: &Due,
        format: NumberFormat,
        expert_bytes: u64,
    ) -> Option<TensorRecord> {
        let bytes = align(due.matrix_bytes(format))?;
        let count = u64::from(due.shape.count);
        let (offset, stride) = if due.role.is_expert() {
            let (first, inside) = match (due.role, self.expert) {
                (Role::ExpertGate, _) | (_, None) => (self.end, self.end),
                (_, Some(open)) => open,
            };
            self.expert = Some((first, inside.checked_add(bytes)?));
            self.end = self
                .end
                .max(first.checked_add(expert_bytes.checked_mul(count)?)?);
            (inside, expert_bytes)
        } else {
            let offset = self.end;
            self.end = offset.checked_add(bytes.checked_mul(count)?)?;
            (offset, bytes)
        };
        Some(TensorRecord {
            role: due.role,
            format,
            layer: due.layer,
            count: due.shape.count,
            rows: due.shape.rows,
            cols: due.shape.cols,
            offset,
            stride,
        })
    }

    /// The end of the last tensor: where the tokenizer's section starts.
    pub const fn end(&self) -> u64 {
        self.end
    }
}

/// Bytes of one whole expert: its three matrices, each rounded up to 64.
pub fn expert_bytes(config: &ModelConfig, formats: [NumberFormat; 3]) -> Option<u64> {
    let Some(moe) = config.moe else {
        return Some(0);
    };
    let (hidden, width) = (config.hidden_size, moe.expert_size);
    let [gate, up, down] = formats;
    align(gate.matrix_bytes(width, hidden))?
        .checked_add(align(up.matrix_bytes(width, hidden))?)?
        .checked_add(align(down.matrix_bytes(hidden, width))?)
}
