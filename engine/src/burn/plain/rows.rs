//! The cache.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::sum::interleave;
use super::{quantize, quantize_affine, round_to_f16};
use crate::burn::backend::Activation;
use crate::burn::codes::Codes as QueryCodes;
use crate::kv::{RowLayout, Segment};
use crate::quant::{GROUP, SegmentFormat};

/// One layer's cache.
#[derive(Debug)]
pub struct PlainRows<B: Backend> {
    /// Latents (MLA) or keys (GQA), then rotated keys or values.
    pub(super) parts: [Part<B>; 2],
}

/// One segment of all rows.
#[derive(Debug)]
pub(super) struct Part<B: Backend> {
    width: usize,
    numbers: Numbers<B>,
}

/// Numbers as their format would give them back.
#[derive(Debug)]
enum Numbers<B: Backend> {
    /// `[heads, context, width]`; halves if `bool`.
    Plain(Tensor<B, 3>, bool),
    Codes(Codes<B>),
}

/// Codes by groups of 32: a number is `scale * code + minimum`.
#[derive(Debug, Clone)]
struct Codes<B: Backend> {
    /// `[heads, context, groups, 32]`.
    codes: Tensor<B, 4>,
    /// `[heads, context, groups, 1]`.
    scales: Tensor<B, 4>,
    /// `[heads, context, groups, 1]`: `q4` only.
    minima: Option<Tensor<B, 4>>,
}

impl<B: Backend> PlainRows<B> {
    /// Bytes of a cache of `context` rows.
    pub fn bytes(layout: &RowLayout, heads: usize, context: usize) -> u64 {
        let (first, second) = layout.latent();
        let bytes = |segment: Segment| match segment.format {
            SegmentFormat::F32 | SegmentFormat::F16 => 4 * segment.len,
            SegmentFormat::Q8 => 4 * (GROUP + 1) * segment.len.div_ceil(GROUP),
            SegmentFormat::Q4 => 4 * (GROUP + 2) * segment.len.div_ceil(GROUP),
        };
        (bytes(first) + bytes(second)) as u64 * heads as u64 * context as u64
    }

    /// An empty cache.
    pub fn new(layout: &RowLayout, heads: usize, context: usize, device: &B::Device) -> Self {
        let (first, second) = layout.latent();
        Self {
            parts: [first, second].map(|segment| Part::new(segment, heads, context, device)),
        }
    }

    /// Stores tokens' rows from `position` on: `[tokens, heads, width]`.
    pub fn store(&mut self, position: usize, rows: [Tensor<B, 3>; 2]) {
        for (part, rows) in self.parts.iter_mut().zip(rows) {
            part.store(position, rows);
        }
    }
}

impl<B: Backend> Part<B> {
    fn new(segment: Segment, heads: usize, context: usize, device: &B::Device) -> Self {
        let width = segment.len;
        let plain = |half| Numbers::Plain(Tensor::zeros([heads, context, width], device), half);
        let groups = width.div_ceil(GROUP);
        let zeros = |columns| Tensor::zeros([heads, context, groups, columns], device);
        let codes = |has_minima: bool| {
            Numbers::Codes(Codes {
                codes: zeros(GROUP),
                scales: zeros(1),
                minima: has_minima.then(|| zeros(1)),
            })
        };
        Self {
            width,
            numbers: match segment.format {
                SegmentFormat::F32 => plain(false),
                SegmentFormat::F16 => plain(true),
                SegmentFormat::Q8 => codes(false),
                SegmentFormat::Q4 => codes(true),
            },
        }
    }

    fn store(&mut self, position: usize, rows: Tensor<B, 3>) {
        let [tokens, heads, width] = rows.dims();
        match &mut self.numbers {
            Numbers::Plain(values, half) => {
                let rows = if *half { round_to_f16(rows) } else { rows };
                let place = [0..heads, position..position + tokens, 0..width];
                values.inplace(|values| values.slice_assign(place, rows.swap_dims(0, 1)));
            }
            Numbers::Codes(cached) => cached.store(position, rows),
        }
    }

    /// What the scores of one token's queries, `[heads * shared, width]`, with
    /// rows `first..first + len` are made of, in the order in which it is added
    /// up: `[heads, terms, shared, len]`.
    pub(super) fn terms(&self, query: &Activation<B>, first: usize, len: usize) -> Tensor<B, 4> {
        let queries = query.values.dims()[0];
        match (&self.numbers, &query.codes) {
            (Numbers::Codes(cached), Some(query)) => {
                let [heads, _, groups, _] = cached.codes.dims();
                // By group, as in a product of matrices.
                let query = query.clone().map(|x| {
                    let n = x.dims()[2];
                    x.reshape([heads, queries / heads, groups, n])
                        .swap_dims(1, 2)
                });
                cached.rows(first, len).terms(query)
            }
            // Queries without codes: not a number, so that it is seen.
            (Numbers::Codes(cached), None) => {
                let [heads, _, groups, _] = cached.codes.dims();
                let dims = [heads, groups, queries / heads, len];
                Tensor::full(dims, f32::NAN, &cached.codes.device())
            }
            (Numbers::Plain(values, _), _) => {
                let [heads, _, width] = values.dims();
                let query = query.values.clone();
                let query = query.reshape([heads, queries / heads, width, 1]);
                let keys = values.clone().narrow(1, first, len);
                query.swap_dims(1, 2) * keys.swap_dims(1, 2).unsqueeze_dim(2)
            }
        }
    }

    /// The numbers of rows `first..first + len`: `[heads, len, width]`.
    pub(super) fn values(&self, first: usize, len: usize) -> Tensor<B, 3> {
        match &self.numbers {
            Numbers::Plain(values, _) => values.clone().narrow(1, first, len),
            Numbers::Codes(cached) => cached.rows(first, len).values().narrow(2, 0, self.width),
        }
    }
}

impl<B: Backend> Codes<B> {
    fn store(&mut self, position: usize, rows: Tensor<B, 3>) {
        let [tokens, heads, _] = rows.dims();
        let (codes, scales, minima) = if self.minima.is_some() {
            let grid = quantize_affine(rows);
            (grid.codes, grid.scales, Some(grid.minima))
        } else {
            let rows = quantize(rows);
            (rows.codes, round_to_f16(rows.scales), None)
        };
        let put = |part: &mut Tensor<B, 4>, rows: Tensor<B, 3>| {
            let [_, groups, columns] = rows.dims();
            let rows = rows.reshape([tokens, heads, groups, columns]);
            let place = [0..heads, position..position + tokens, 0..groups, 0..columns];
            part.inplace(|part| part.slice_assign(place, rows.swap_dims(0, 1)));
        };
        put(&mut self.codes, codes);
        put(&mut self.scales, scales);
        if let (Some(part), Some(minima)) = (&mut self.minima, minima) {
            put(part, minima);
        }
    }

    /// Rows `first..first + len`.
    fn rows(&self, first: usize, len: usize) -> Self {
        let narrow = |part: &Tensor<B, 4>| part.clone().narrow(1, first, len);
        Self {
            codes: narrow(&self.codes),
            scales: narrow(&self.scales),
            minima: self.minima.as_ref().map(narrow),
        }
    }

    /// See [`Part::terms`]: `(scale * query scale) * sum of products`, then
    /// `minimum * (query scale * sum of query codes)`.
    fn terms(self, query: QueryCodes<B, 4>) -> Tensor<B, 4> {
        let by_group = |part: Tensor<B, 4>| part.permute([0, 2, 3, 1]);
        let dot = query.codes.clone().matmul(by_group(self.codes));
        let terms = (by_group(self.scales) * query.scales.clone()) * dot;
        match self.minima {
            None => terms,
            Some(minima) => {
                let weighted = query.scales * query.codes.sum_dim(3);
                interleave(terms, by_group(minima) * weighted)
            }
        }
    }

    /// `[heads, rows, groups * 32]`.
    fn values(self) -> Tensor<B, 3> {
        let [heads, rows, groups, columns] = self.codes.dims();
        let mut values = self.scales * self.codes;
        if let Some(minima) = self.minima {
            values = values + minima;
        }
        values.reshape([heads, rows, groups * columns])
    }
}
