//! Vectors on their way into a matrix: as numbers and as codes.

use crate::EngineError;
use crate::kernels::{Inputs, Isa, quantize::quantize};
use crate::quant::GROUP;

use super::arena::Arena;

/// One vector a token, padded with zeros to whole groups of 32.
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
        let start = token * self.stride;
        self.values
            .get_mut(start..start + self.stride)
            .unwrap_or_default()
    }

    /// The vector of `token`, padding included.
    pub(super) fn row(&self, token: usize) -> &[f32] {
        let start = token * self.stride;
        self.values
            .get(start..start + self.stride)
            .unwrap_or_default()
    }

    /// Computes the codes of all vectors.
    pub(super) fn quantize(&mut self, isa: Isa) {
        let len = (self.count * self.stride).min(self.values.len());
        let groups = len / GROUP;
        quantize(
            isa,
            self.values.get(..len).unwrap_or_default(),
            self.codes.get_mut(..len).unwrap_or_default(),
            self.scales.get_mut(..groups).unwrap_or_default(),
            self.sums.get_mut(..groups).unwrap_or_default(),
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
        let codes = self.codes.get(start..start + len).unwrap_or_default();
        let scales = self
            .scales
            .get(start / GROUP..(start + len) / GROUP)
            .unwrap_or_default();
        (codes, scales)
    }
}
