//! Weights, packed as in the file.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::future::block_on;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::tensors::{cubes_for, keep};
use crate::EngineError;
use crate::blob::{self, Role, TensorRecord};
use crate::quant::{GROUP, LANES, Matrix, NumberFormat};

/// Bytes that are copied to the device at a time.
pub(super) const PIECE: usize = 1 << 20;

/// Pieces that may be on their way to the device.
pub(super) const IN_FLIGHT: usize = 8;

/// The matrices of one tensor: blocks of 16 rows by 32 columns, as
/// [`crate::quant`] has them, as 32-bit words.
#[derive(Debug)]
pub struct CubeMatrices<R: CubeRuntime> {
    pub(super) words: CubeTensor<R>,
    pub(super) shape: MatrixShape,
}

/// How the words are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MatrixShape {
    pub(super) format: NumberFormat,
    /// Products are added column after column, so that the choice of experts is
    /// the processor's.
    pub(super) is_router: bool,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl MatrixShape {
    fn new(record: &TensorRecord) -> Self {
        Self {
            format: record.format,
            is_router: record.role == Role::Router,
            rows: record.rows as usize,
            cols: record.cols as usize,
        }
    }

    /// Groups of 32 columns.
    pub(super) const fn groups(&self) -> usize {
        self.cols.div_ceil(GROUP)
    }

    /// Rows of blocks.
    pub(super) const fn block_rows(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Words of one matrix.
    pub(super) const fn words(&self) -> usize {
        self.block_rows() * self.groups() * self.format.block_bytes() / 4
    }
}

impl<R: CubeRuntime> CubeMatrices<R> {
    /// Bytes that a tensor's matrices take: those of the file without its
    /// padding.
    pub fn bytes(record: &TensorRecord) -> u64 {
        u64::from(record.count) * 4 * MatrixShape::new(record).words() as u64
    }

    /// Copies a tensor's matrices to the device.
    ///
    /// # Errors
    /// If the tensor holds none.
    pub fn load(tensor: &blob::Tensor<'_>, device: &R::Device) -> Result<Self, EngineError> {
        let record = tensor.record();
        let count = record.count as usize;
        let matrices = Self::room(record, count, device);
        for index in 0..count {
            let matrix = tensor.matrix(index).ok_or(EngineError::missing(record))?;
            matrices.fill(index, &matrix);
        }
        Ok(matrices)
    }

    /// Room for `count` matrices of a tensor.
    pub fn room(record: &TensorRecord, count: usize, device: &R::Device) -> Self {
        let shape = MatrixShape::new(record);
        let words = keep(count * shape.words(), device);
        Self { words, shape }
    }

    /// Copies a matrix to place number `slot` in pieces, a few of which are in
    /// memory besides.
    pub fn fill(&self, slot: usize, matrix: &Matrix<'_>) {
        let mut at = slot * self.shape.words();
        for (i, piece) in matrix.bytes().chunks(PIECE).enumerate() {
            copy(piece, &self.words, at);
            at += piece.len() / 4;
            if (i + 1).is_multiple_of(IN_FLIGHT) {
                // A device that fails says so when results are read.
                let _ = block_on(self.words.client.sync());
            }
        }
    }
}

/// Copies `bytes` to word `at` of `to`.
fn copy<R: CubeRuntime>(bytes: &[u8], to: &CubeTensor<R>, at: usize) {
    let client = &to.client;
    let words = bytes.len() / 4;
    let handle = client.create_from_slice(bytes);
    let (device, dims) = (to.device.clone(), Shape::from([words]));
    let from = CubeTensor::new_contiguous(client.clone(), device, dims, handle, DType::U32);
    let (cubes, units) = cubes_for(words);
    copy_kernel::launch::<R>(
        client,
        cubes,
        units,
        from.into_array_arg(),
        to.clone().into_array_arg(),
        at as u32,
    );
}

/// One unit has one word.
#[cube(launch)]
fn copy_kernel(from: &Array<u32>, to: &mut Array<u32>, at: u32) {
    if ABSOLUTE_POS >= from.len() {
        terminate!();
    }
    to[at as usize + ABSOLUTE_POS] = from[ABSOLUTE_POS];
}
