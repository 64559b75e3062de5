//! The scales of FP8 weights: one for each block of a matrix.
//!
//! `W[i, j] = fp8[i, j] * scale_inv[i / rows, j / cols]`, with the scales in
//! the tensor's name plus `_scale_inv`; blocks at the lower and right edge are
//! short (DeepSeek-V3, `README_WEIGHTS.md`). Leading dimensions (fused
//! experts) have blocks of their own.

use crate::checkpoint::ImportError;

/// The suffix that makes a tensor's name that of its scales.
pub(super) const SCALES: &str = "_scale_inv";

/// Rows and columns of a block (`quantization_config.weight_block_size`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockSize {
    pub(super) rows: u64,
    pub(super) cols: u64,
}

/// The layout of one tensor's scales.
#[derive(Debug)]
pub(super) struct BlockScales {
    /// The tensor that holds the scales.
    pub(super) tensor: String,
    /// The shape that it must have.
    pub(super) shape: Vec<u64>,
    /// Columns of the weights.
    pub(super) cols: usize,
    block_rows: u64,
    block_cols: usize,
    matrix_rows: u64,
    scale_rows: u64,
}

impl BlockScales {
    /// The scales of tensor `name`; `None` if its shape has no rows and columns.
    pub(super) fn new(name: &str, shape: &[u64], block: BlockSize) -> Option<Self> {
        let [outer @ .., rows, cols] = shape else {
            return None;
        };
        let scale_rows = rows.div_ceil(block.rows);
        let mut scale_shape = outer.to_vec();
        scale_shape.extend([scale_rows, cols.div_ceil(block.cols)]);
        Some(Self {
            tensor: format!("{name}{SCALES}"),
            shape: scale_shape,
            cols: usize::try_from(*cols).ok()?,
            block_rows: block.rows,
            block_cols: usize::try_from(block.cols).ok()?,
            matrix_rows: *rows,
            scale_rows,
        })
    }

    /// The row of scales for row `row` of the weights, both counted over all
    /// outer dimensions.
    pub(super) fn scale_row(&self, row: u64) -> u64 {
        let (matrix, row) = (row / self.matrix_rows, row % self.matrix_rows);
        matrix * self.scale_rows + row / self.block_rows
    }

    /// Refuses scales that are no numbers.
    pub(super) fn check(&self, scale_row: u64, scales: &[f32]) -> Result<(), ImportError> {
        match scales.iter().position(|scale| !scale.is_finite()) {
            None => Ok(()),
            Some(column) => Err(ImportError::NotFinite {
                tensor: self.tensor.clone(),
                row: scale_row,
                column: column as u64,
                value: scales[column],
            }),
        }
    }

    /// Multiplies one row of weights by its row of scales.
    pub(super) fn multiply(&self, scales: &[f32], values: &mut [f32]) {
        for (block, &scale) in values.chunks_mut(self.block_cols).zip(scales) {
            block.iter_mut().for_each(|value| *value *= scale);
        }
    }
}
