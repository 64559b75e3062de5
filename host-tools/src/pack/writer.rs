//! A checkpoint's tensors, read, rounded and written in file order.

use std::ops::ControlFlow;

use briquette_engine::blob::{Part, Role, TensorRecord};
use briquette_engine::quant::LANES;
use sha2::{Digest, Sha256};

use super::PackError;
use super::encode::encode_rows;
use super::output::Output;
use super::range::{Magnitudes, Misfit};
use super::rotate::LatentRotation;
use super::table::{Table, tensor_id};
use crate::checkpoint::{Rows, Weights};

/// Numbers that are read and rounded at a time: 8 MB of `f32`.
const CHUNK: usize = 2 << 20;

/// Reads, rounds and writes tensors in file order.
pub(super) struct TensorWriter<'a, P> {
    weights: &'a mut Weights,
    output: &'a mut Output,
    progress: &'a mut P,
    digest: Sha256,
    done: u64,
    total: u64,
    rotation: Option<LatentRotation>,
    rows: Rows,
    blocks: Vec<u8>,
}

impl<'a, P: FnMut(u64, u64) -> ControlFlow<()>> TensorWriter<'a, P> {
    pub(super) fn new(
        weights: &'a mut Weights,
        output: &'a mut Output,
        progress: &'a mut P,
        rotation: Option<LatentRotation>,
    ) -> Self {
        Self {
            weights,
            output,
            progress,
            digest: Sha256::new(),
            done: 0,
            total: 0,
            rotation,
            rows: Rows::default(),
            blocks: Vec::new(),
        }
    }

    /// Writes all of `table`; returns the SHA-256 of what was read.
    pub(super) fn write_all(mut self, table: &Table) -> Result<[u8; 32], PackError> {
        self.total = table.numbers();
        let mut rest = table.records.iter();
        while let Some(record) = rest.next() {
            if record.role == Role::ExpertGate {
                let others = [rest.next(), rest.next()];
                let [Some(up), Some(down)] = others else {
                    return Err(PackError::TooLarge);
                };
                for expert in 0..record.count {
                    for tensor in [record, up, down] {
                        self.write_matrix(tensor, expert)?;
                    }
                }
            } else {
                for index in 0..record.count {
                    self.write_matrix(record, index)?;
                }
            }
        }
        Ok(self.digest.finalize().into())
    }

    fn write_matrix(&mut self, record: &TensorRecord, index: u32) -> Result<(), PackError> {
        let id = tensor_id(record.role, record.layer);
        let step = (CHUNK / record.cols as usize / LANES * LANES).max(LANES) as u32;
        let step = match self.rotation {
            Some(_) if LatentRotation::mixes_rows(record.role) => record.rows,
            _ => step,
        };
        let mut magnitudes = Magnitudes::default();
        let mut first = 0;
        while first < record.rows {
            let last = record.rows.min(first.saturating_add(step));
            self.weights.read(id, index, first..last, &mut self.rows)?;
            self.digest
                .update(bytemuck::cast_slice::<f32, u8>(&self.rows.values));
            if let Some(rotation) = &mut self.rotation {
                rotation.apply(self.weights, id, &mut self.rows)?;
            }
            self.blocks.clear();
            if record.role.is_vector() {
                let bytes = self.rows.values.iter().flat_map(|v| v.to_le_bytes());
                self.blocks.extend(bytes);
            } else {
                let encoded = encode_rows(record.format, &self.rows, &mut self.blocks);
                let encoded =
                    encoded.map_err(|misfit| self.misfit(record, index, first, misfit))?;
                magnitudes = magnitudes.and(encoded.counted_from(first as usize));
            }
            self.output.write(&self.blocks)?;
            self.done += self.rows.values.len() as u64;
            if (self.progress)(self.done, self.total).is_break() {
                return Err(PackError::Interrupted);
            }
            first = last;
        }
        let range = magnitudes.check(record.format);
        range.map_err(|misfit| self.misfit(record, index, 0, misfit))?;
        self.output.align()
    }

    /// The error for a number that a tensor's format cannot hold, its row
    /// counted from row `first` of matrix number `index`.
    fn misfit(&self, record: &TensorRecord, index: u32, first: u32, misfit: Misfit) -> PackError {
        let id = tensor_id(record.role, record.layer);
        PackError::OutOfRange {
            tensor: self.weights.stored_name(id, index),
            row: u64::from(first) + misfit.row as u64,
            value: misfit.value,
            direction: misfit.direction,
            format: record.format.name(),
            option: match (record.role, record.role.part()) {
                (Role::LmHead, _) => "head",
                (_, Part::Embedding) => "embedding",
                (_, Part::Attention) => "attention",
                (_, Part::Mlp) => "mlp",
                (_, Part::Experts) => "experts",
                (_, Part::Exact) => "weights",
            },
        }
    }
}
