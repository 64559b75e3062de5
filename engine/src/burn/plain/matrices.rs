//! Weights, and their products with vectors.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::sum::interleave;
use super::sum_in_order;
use crate::EngineError;
use crate::blob::{self, Role, TensorRecord};
use crate::burn::backend::Activation;
use crate::burn::codes::Codes;
use crate::quant::{Block, BlockGroup, GROUP, Matrix, NumberFormat};

/// The matrices of one tensor.
#[derive(Debug)]
pub struct PlainMatrices<B: Backend> {
    record: TensorRecord,
    rows: usize,
    cols: usize,
    numbers: Numbers<B>,
}

#[derive(Debug)]
enum Numbers<B: Backend> {
    /// `[count, rows, cols]`.
    Plain(Tensor<B, 3>),
    /// A router, `[rows, cols]`: its products are taken column after column, so
    /// that the choice is the processor's.
    Router(Tensor<B, 2>),
    Codes(GroupCodes<B>),
}

/// Codes by groups of 32 columns, as whole `f32` numbers.
#[derive(Debug, Clone)]
struct GroupCodes<B: Backend> {
    /// `[count, groups, 32, rows]`.
    codes: Tensor<B, 4>,
    /// `[count, groups, 1, rows]`.
    scales: Tensor<B, 4>,
    /// What code 0 stands for, `[count, groups, 1, rows]`: `q4a` only.
    minima: Option<Tensor<B, 4>>,
}

impl<B: Backend> PlainMatrices<B> {
    /// Bytes that a tensor's matrices take.
    pub fn bytes(record: &TensorRecord) -> u64 {
        let groups = u64::from(record.cols.div_ceil(GROUP as u32));
        let row = match record.format {
            NumberFormat::F32 | NumberFormat::F16 => u64::from(record.cols) * 4,
            NumberFormat::Q8 | NumberFormat::Q4 => groups * (GROUP as u64 + 1) * 4,
            NumberFormat::Q4Affine => groups * (GROUP as u64 + 2) * 4,
        };
        u64::from(record.count) * u64::from(record.rows) * row
    }

    /// Unpacks a tensor's matrices.
    ///
    /// # Errors
    /// If the tensor holds none.
    pub fn load(tensor: &blob::Tensor<'_>, device: &B::Device) -> Result<Self, EngineError> {
        let matrices = (0..tensor.record().count as usize).map(|index| tensor.matrix(index));
        let matrices: Option<Vec<_>> = matrices.collect();
        let matrices = matrices.ok_or(EngineError::missing(tensor.record()))?;
        Self::unpack(tensor.record(), &matrices, device)
    }

    /// Unpacks `matrices` of the tensor that `record` describes.
    fn unpack(
        record: &TensorRecord,
        matrices: &[Matrix<'_>],
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        let count = matrices.len();
        let [rows, cols] = [record.rows, record.cols].map(|n| n as usize);
        let numbers = if record.format.is_integer() {
            Numbers::Codes(GroupCodes::unpack(record, matrices, device)?)
        } else {
            let mut values = vec![0.0; count * rows * cols];
            for (matrix, values) in matrices.iter().zip(values.chunks_mut(rows * cols)) {
                for (row, values) in values.chunks_mut(cols).enumerate() {
                    matrix.decode_row(row, values);
                }
            }
            let data = TensorData::new(values, [count, rows, cols]);
            let values = Tensor::from_data(data, device);
            match record.role {
                Role::Router => Numbers::Router(values.reshape([rows, cols])),
                _ => Numbers::Plain(values),
            }
        };
        Ok(Self {
            record: *record,
            rows,
            cols,
            numbers,
        })
    }

    /// Room for `count` matrices of a tensor: zeros.
    pub fn room(record: &TensorRecord, count: usize, device: &B::Device) -> Self {
        let [rows, cols] = [record.rows, record.cols].map(|n| n as usize);
        let groups = cols.div_ceil(GROUP);
        let numbers = if record.format.is_integer() {
            let zeros = |columns| Tensor::zeros([count, groups, columns, rows], device);
            Numbers::Codes(GroupCodes {
                codes: zeros(GROUP),
                scales: zeros(1),
                minima: (record.format == NumberFormat::Q4Affine).then(|| zeros(1)),
            })
        } else {
            Numbers::Plain(Tensor::zeros([count, rows, cols], device))
        };
        Self {
            record: *record,
            rows,
            cols,
            numbers,
        }
    }

    /// Unpacks a matrix into place number `slot`.
    ///
    /// # Errors
    /// If it is no matrix of this tensor.
    pub fn fill(&mut self, slot: usize, matrix: &Matrix<'_>) -> Result<(), EngineError> {
        fn put<B: Backend, const D: usize>(all: &mut Tensor<B, D>, slot: usize, one: Tensor<B, D>) {
            let mut place = one.dims().map(|len| 0..len);
            place[0] = slot..slot + 1;
            *all = all.clone().slice_assign(place, one);
        }
        let device = match &self.numbers {
            Numbers::Plain(values) => values.device(),
            Numbers::Router(values) => values.device(),
            Numbers::Codes(codes) => codes.codes.device(),
        };
        let one = Self::unpack(&self.record, &[*matrix], &device)?;
        match (&mut self.numbers, one.numbers) {
            (Numbers::Plain(all), Numbers::Plain(one)) => put(all, slot, one),
            (Numbers::Codes(all), Numbers::Codes(one)) => {
                put(&mut all.codes, slot, one.codes);
                put(&mut all.scales, slot, one.scales);
                if let (Some(all), Some(one)) = (&mut all.minima, one.minima) {
                    put(all, slot, one);
                }
            }
            _ => return Err(EngineError::missing(&self.record)),
        }
        Ok(())
    }

    /// The rows of the first matrix that `ids` name: `[ids, cols]`.
    pub fn rows(&self, ids: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        match &self.numbers {
            Numbers::Plain(values) => {
                let chosen = values.clone().select(1, ids);
                let count = chosen.dims()[1];
                chosen.reshape([count, self.cols])
            }
            Numbers::Router(values) => values.clone().select(0, ids),
            Numbers::Codes(codes) => codes.rows(ids).narrow(1, 0, self.cols),
        }
    }

    /// The first matrix times each vector: `[tokens, cols]` to `[tokens, rows]`.
    pub fn project(&self, input: &Activation<B>) -> Tensor<B, 2> {
        let tokens = input.values.dims()[0];
        match (&self.numbers, &input.codes) {
            (Numbers::Codes(weights), Some(codes)) => {
                let by_group = codes.clone().map(|x| x.swap_dims(0, 1).unsqueeze());
                let product = weights.project(by_group);
                product.reshape([tokens, self.rows])
            }
            (Numbers::Router(values), _) => {
                let input = input.values.clone().unsqueeze_dim::<3>(1);
                let terms = values.clone().unsqueeze::<3>() * input;
                sum_in_order(terms, 2).reshape([tokens, self.rows])
            }
            (Numbers::Plain(values), _) => {
                let matrix = values.clone().reshape([self.rows, self.cols]);
                input.values.clone().matmul(matrix.transpose())
            }
            (Numbers::Codes(_), None) => unquantized(&input.values, [tokens, self.rows]),
        }
    }

    /// Each head's matrix times that head's vectors: `[tokens, heads, cols]` to
    /// `[tokens, heads, rows]`.
    pub fn project_heads(&self, input: &Activation<B, 3>) -> Tensor<B, 3> {
        let [tokens, heads, _] = input.values.dims();
        match (&self.numbers, &input.codes) {
            (Numbers::Codes(weights), Some(codes)) => {
                let by_head = codes.clone().map(|x| {
                    let [_, groups, width] = x.dims();
                    x.reshape([tokens, heads, groups, width])
                        .permute([1, 2, 0, 3])
                });
                weights.project(by_head).swap_dims(0, 1)
            }
            (Numbers::Plain(values), _) => {
                let by_head = input.values.clone().swap_dims(0, 1);
                let product = by_head.matmul(values.clone().swap_dims(1, 2));
                product.swap_dims(0, 1)
            }
            _ => unquantized(&input.values, [tokens, heads, self.rows]),
        }
    }

    /// The matrices that `ids` name times one vector each, or all times the
    /// same: `[ids or 1, cols]` to `[ids, rows]`.
    pub(super) fn project_chosen(
        &self,
        ids: Tensor<B, 1, Int>,
        input: &Activation<B>,
    ) -> Tensor<B, 2> {
        let count = ids.dims()[0];
        match (&self.numbers, &input.codes) {
            (Numbers::Codes(weights), Some(codes)) => {
                let chosen = weights.clone().map(|x| x.select(0, ids.clone()));
                let each = codes.clone().map(|x| {
                    let [_, groups, width] = x.dims();
                    x.expand([count, groups, width]).unsqueeze_dim(2)
                });
                chosen.project(each).reshape([count, self.rows])
            }
            (Numbers::Plain(values), _) => {
                let chosen = values.clone().select(0, ids).swap_dims(1, 2);
                let each = input.values.clone().expand([count, self.cols]);
                let product = each.unsqueeze_dim::<3>(1).matmul(chosen);
                product.reshape([count, self.rows])
            }
            _ => unquantized(&input.values, [count, self.rows]),
        }
    }
}

/// Integer weights meet vectors without codes only if the caller forgot to
/// quantise them: not a number, so that it is seen.
fn unquantized<B: Backend, const D: usize, const R: usize>(
    like: &Tensor<B, D>,
    dims: [usize; R],
) -> Tensor<B, R> {
    Tensor::full(dims, f32::NAN, &like.device())
}

impl<B: Backend> GroupCodes<B> {
    fn unpack(
        record: &TensorRecord,
        matrices: &[Matrix<'_>],
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        let (count, rows) = (matrices.len(), record.rows as usize);
        let groups = (record.cols as usize).div_ceil(GROUP);
        let matrix_scales = groups * rows;
        let mut codes = vec![0.0; count * matrix_scales * GROUP];
        let mut scales = vec![0.0; count * matrix_scales];
        let mut minima = vec![0.0; count * matrix_scales];
        for (index, matrix) in matrices.iter().enumerate() {
            for row in 0..rows {
                let blocks = matrix.block_row(row / crate::quant::LANES);
                let blocks = blocks.chunks_exact(record.format.block_bytes());
                for (g, bytes) in blocks.enumerate() {
                    let block = Block::new(record.format, bytes);
                    let group = block.ok_or(EngineError::missing(record))?.group(row);
                    let group = Group::new(record.format, &group);
                    let at = index * matrix_scales + g * rows;
                    scales[at + row] = group.scale;
                    minima[at + row] = group.min;
                    for (column, code) in group.codes.iter().enumerate() {
                        codes[(at * GROUP) + column * rows + row] = *code;
                    }
                }
            }
        }
        let tensor = |values: Vec<f32>, columns| {
            let data = TensorData::new(values, [count, groups, columns, rows]);
            Tensor::from_data(data, device)
        };
        Ok(Self {
            codes: tensor(codes, GROUP),
            scales: tensor(scales, 1),
            minima: (record.format == NumberFormat::Q4Affine).then(|| tensor(minima, 1)),
        })
    }

    fn map(self, change: impl Fn(Tensor<B, 4>) -> Tensor<B, 4>) -> Self {
        Self {
            codes: change(self.codes),
            scales: change(self.scales),
            minima: self.minima.map(change),
        }
    }

    /// `[ids, groups * 32]` of the first matrix.
    fn rows(&self, ids: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        let chosen = self.clone().map(|x| x.select(3, ids.clone()));
        let mut values = chosen.scales * chosen.codes;
        if let Some(minima) = chosen.minima {
            values = values + minima;
        }
        let [_, groups, columns, count] = values.dims();
        let values = values.permute([0, 3, 1, 2]);
        values.reshape([count, groups * columns])
    }

    /// `[count, groups, tokens, 32]` codes to `[count, tokens, rows]`.
    fn project(&self, input: Codes<B, 4>) -> Tensor<B, 3> {
        /// Numbers that the parts of one product may take.
        const ROOM: usize = 1 << 22;
        let [count, groups, tokens, _] = input.codes.dims();
        let rows = self.codes.dims()[3];
        let tile = (ROOM / (count * groups * rows)).clamp(1, tokens);
        let tiles = (0..tokens).step_by(tile).map(|first| {
            let len = tile.min(tokens - first);
            self.project_tile(input.clone().map(|x| x.narrow(2, first, len)))
        });
        Tensor::cat(tiles.collect(), 1)
    }

    /// A row's groups in ascending order: `acc = acc + (scale_w * scale_x) *
    /// dot`, for `q4a` then `acc = acc + min * (scale_x * sum of codes)`.
    fn project_tile(&self, input: Codes<B, 4>) -> Tensor<B, 3> {
        let [count, _, tokens, _] = input.codes.dims();
        let rows = self.codes.dims()[3];
        let dot = input.codes.clone().matmul(self.codes.clone());
        let terms = (self.scales.clone() * input.scales.clone()) * dot;
        let terms = match &self.minima {
            None => terms,
            Some(minima) => {
                let offset = input.scales * input.codes.sum_dim(3);
                interleave(terms, minima.clone() * offset)
            }
        };
        sum_in_order(terms, 1).reshape([count, tokens, rows])
    }
}

/// One row's share of a block, in numbers.
struct Group {
    scale: f32,
    min: f32,
    codes: [f32; GROUP],
}

impl Group {
    fn new(format: NumberFormat, group: &BlockGroup) -> Self {
        match *group {
            BlockGroup::Plain(codes) => Self {
                scale: 1.0,
                min: 0.0,
                codes,
            },
            BlockGroup::Q8 { scale, codes } => Self {
                scale: scale.to_f32(),
                min: 0.0,
                codes: codes.map(f32::from),
            },
            BlockGroup::Q4 { scale, min, codes } => {
                let zero = if format == NumberFormat::Q4 { 8.0 } else { 0.0 };
                Self {
                    scale: scale.to_f32(),
                    min: min.to_f32(),
                    codes: codes.map(|code| f32::from(code) - zero),
                }
            }
        }
    }
}
