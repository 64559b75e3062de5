//! A matrix of blocks, read in place.

use super::{Block, GROUP, LANES, NumberFormat};

/// `rows` outputs by `cols` inputs, in blocks.
///
/// ```
/// use briquette_engine::quant::{Matrix, NumberFormat};
///
/// let zeros = [0_u8; NumberFormat::Q4.block_bytes()];
/// let matrix = Matrix::new(NumberFormat::Q4, 10, 32, &zeros).unwrap();
/// assert_eq!(matrix.block_rows(), 1);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    format: NumberFormat,
    rows: usize,
    cols: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// A matrix over `bytes`; `None` unless they are exactly as many as the
    /// shape needs.
    pub fn new(format: NumberFormat, rows: u32, cols: u32, bytes: &'a [u8]) -> Option<Self> {
        (format.matrix_bytes(rows, cols) == bytes.len() as u64).then_some(Self {
            format,
            rows: rows as usize,
            cols: cols as usize,
            bytes,
        })
    }

    /// How the numbers are stored.
    pub const fn format(&self) -> NumberFormat {
        self.format
    }

    /// Number of outputs.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of inputs.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// All bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of block rows: 16 outputs each.
    pub const fn block_rows(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Groups in a row.
    pub const fn groups(&self) -> usize {
        self.cols.div_ceil(GROUP)
    }

    /// The blocks of 16 outputs, one sequential read; empty past the end.
    pub fn block_row(&self, index: usize) -> &'a [u8] {
        let len = self.groups() * self.format.block_bytes();
        index
            .checked_mul(len)
            .and_then(|start| self.bytes.get(start..start.checked_add(len)?))
            .unwrap_or_default()
    }

    /// The blocks of all outputs from block row `index` on; empty past the end.
    pub fn block_rows_from(&self, index: usize) -> &'a [u8] {
        let len = self.groups() * self.format.block_bytes();
        index
            .checked_mul(len)
            .and_then(|start| self.bytes.get(start..))
            .unwrap_or_default()
    }

    /// Writes row `row` to `out`; stops at the shorter of the two. A row past
    /// the end reads as nothing.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        let cols = self.cols.min(out.len());
        let blocks = self
            .block_row(row / LANES)
            .chunks_exact(self.format.block_bytes());
        let groups = out.iter_mut().take(cols);
        let values = blocks
            .filter_map(|bytes| Block::new(self.format, bytes))
            .flat_map(|block| block.decode(row % LANES));
        for (out, value) in groups.zip(values) {
            *out = value;
        }
    }

    /// Bytes that [`Self::decode_row`] uses: one row's share of each block.
    pub const fn row_bytes(&self) -> usize {
        self.groups() * (self.format.block_bytes() / LANES)
    }
}
