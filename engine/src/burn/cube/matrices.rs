//! Weights, packed as in the file.

use alloc::vec::Vec;

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;

use crate::EngineError;
use crate::blob::{self, Role, TensorRecord};
use crate::quant::{GROUP, LANES, NumberFormat};

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
        let shape = MatrixShape::new(record);
        let count = record.count as usize;
        let client = R::client(device);
        let handle = if let (1, Some(matrix)) = (count, tensor.matrix(0)) {
            client.create_from_slice(matrix.bytes())
        } else {
            let mut bytes = Vec::with_capacity(count * shape.words() * 4);
            for index in 0..count {
                let matrix = tensor.matrix(index).ok_or(EngineError::MissingTensor)?;
                bytes.extend_from_slice(matrix.bytes());
            }
            client.create_from_slice(&bytes)
        };
        let dims = Shape::from([count * shape.words()]);
        let words = CubeTensor::new_contiguous(client, device.clone(), dims, handle, DType::U32);
        Ok(Self { words, shape })
    }
}
