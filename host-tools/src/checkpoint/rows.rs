//! A run of matrix rows on its way from a checkpoint to the packer.

use half::f16;

/// The grid that a source's own quantisation put 32 neighbouring numbers on:
/// each of them is `scale * code + min`. Signed eight-bit codes count from
/// -128, so their `min` is `-128 * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Step of the grid.
    pub scale: f16,
    /// Value of code 0.
    pub min: f16,
    /// Number of bits of a code: codes run from 0 to `2^bits - 1`.
    pub bits: u8,
}

/// Rows of one matrix, widened to `f32`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Numbers in a row.
    pub cols: usize,
    /// All rows, one after the other.
    pub values: Vec<f32>,
    /// One grid for every 32 numbers of every row, where the source is
    /// quantised in such groups and its scales are exact in `f16`. The packer
    /// then keeps the source's codes instead of rounding a second time.
    /// Empty otherwise. Requires `cols` to be a multiple of 32.
    pub grids: Vec<Grid>,
}
