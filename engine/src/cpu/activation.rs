//! Vectors on their way into a matrix: as numbers and as codes.

use crate::EngineError;
use crate::cut;
use crate::kernels::{Inputs, Isa, quantize::quantize};
use crate::quant::GROUP;

use super::arena::Arena;
use super::means::Means;
use super::team::{Team, Units};

/// One vector per token, padded with zeros to whole groups of 32.
#[derive(Debug)]
pub(super) struct Activation<'a> {
    values: &'a mut [f32],
    codes: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
    /// Columns of a token, a multiple of 32.
    stride: usize,
    /// Tokens in use.
    count: usize,
}

impl<'a> Activation<'a> {
    /// Room for `len` columns in all, a multiple of 32.
    pub(super) fn carve(arena: &mut Arena<'a>, len: usize) -> Result<Self, EngineError> {
        Ok(Self {
            values: arena.take(len)?,
            codes: arena.take(len)?,
            scales: arena.take(len / GROUP)?,
            sums: arena.take(len / GROUP)?,
            stride: 0,
            count: 0,
        })
    }

    /// Makes room for `count` vectors of `cols` columns.
    pub(super) fn reshape(&mut self, count: usize, cols: usize) {
        self.stride = cols.next_multiple_of(GROUP);
        self.count = count;
    }

    /// The vector of `token`, padding included.
    pub(super) fn row_mut(&mut self, token: usize) -> &mut [f32] {
        cut::part_mut(self.values, token * self.stride, self.stride)
    }

    /// The vector of `token`, padding included.
    pub(super) fn row(&self, token: usize) -> &[f32] {
        cut::part(self.values, token * self.stride, self.stride)
    }

    /// Makes `count` vectors of `cols` columns: `fill(token, row)` writes each,
    /// all but the padding, and its codes are computed at once.
    pub(super) fn fill(
        &mut self,
        means: &Means<impl Team>,
        [count, cols]: [usize; 2],
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.reshape(count, cols);
        let columns = self.stride;
        let len = count * columns;
        let groups = columns / GROUP;
        let values = Units::of_first(self.values, len, columns);
        let codes = Units::of_first(self.codes, len, columns);
        let scales = Units::of_first(self.scales, len / GROUP, groups);
        let sums = Units::of_first(self.sums, len / GROUP, groups);
        let all = ((values, codes), (scales, sums));
        means
            .team
            .for_each_part(all, |first, ((values, codes), (scales, sums))| {
                for (i, row) in values.data.chunks_mut(columns.max(1)).enumerate() {
                    if let Some((row, padding)) = row.split_at_mut_checked(cols) {
                        fill(first + i, row);
                        padding.fill(0.0);
                    }
                }
                quantize(means.isa, values.data, codes.data, scales.data, sums.data);
            });
    }

    /// Computes the codes of all vectors.
    pub(super) fn quantize(&mut self, isa: Isa) {
        let len = self.count * self.stride;
        let groups = len / GROUP;
        quantize(
            isa,
            cut::first(self.values, len),
            cut::first_mut(self.codes, len),
            cut::first_mut(self.scales, groups),
            cut::first_mut(self.sums, groups),
        );
    }

    /// All vectors, as a kernel's input.
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            values: self.values,
            codes: self.codes,
            scales: self.scales,
            sums: self.sums,
            stride: self.stride,
            offset: 0,
            picked: None,
            count: self.count,
        }
    }

    /// Columns that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.values.len()
    }

    /// The columns from `offset` on, as a kernel's input.
    pub(super) fn inputs_from(&self, offset: usize) -> Inputs<'_> {
        Inputs {
            offset,
            ..self.inputs()
        }
    }

    /// Codes and scales of `len` columns of `token` from `offset` on (both
    /// multiples of 32).
    pub(super) fn codes(&self, token: usize, offset: usize, len: usize) -> (&[i8], &[f32]) {
        let start = token * self.stride + offset;
        let codes = cut::part(self.codes, start, len);
        let scales = cut::part(self.scales, start / GROUP, len / GROUP);
        (codes, scales)
    }
}
