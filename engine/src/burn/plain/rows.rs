//! The cache.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{quantize, round_to_f16};
use crate::burn::backend::Activation;
use crate::kv::{RowLayout, Segment, SegmentFormat};
use crate::quant::GROUP;

/// One layer's cache. Four-bit rows are refused when a model is loaded.
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
    /// Codes `[heads, context, groups, 32]` and scales `[heads, context,
    /// groups, 1]`.
    Codes([Tensor<B, 4>; 2]),
}

impl<B: Backend> PlainRows<B> {
    /// Bytes of a cache of `context` rows.
    pub fn bytes(layout: &RowLayout, heads: usize, context: usize) -> u64 {
        let (first, second) = layout.latent();
        let bytes = |segment: Segment| match segment.format {
            SegmentFormat::F32 | SegmentFormat::F16 => 4 * segment.len,
            SegmentFormat::Q8 | SegmentFormat::Q4 => 4 * (GROUP + 1) * segment.len.div_ceil(GROUP),
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
        let groups = width.div_ceil(GROUP);
        let plain = |half| Numbers::Plain(Tensor::zeros([heads, context, width], device), half);
        Self {
            width,
            numbers: match segment.format {
                SegmentFormat::F32 => plain(false),
                SegmentFormat::F16 => plain(true),
                SegmentFormat::Q8 | SegmentFormat::Q4 => Numbers::Codes(
                    [GROUP, 1].map(|n| Tensor::zeros([heads, context, groups, n], device)),
                ),
            },
        }
    }

    fn store(&mut self, position: usize, rows: Tensor<B, 3>) {
        let [tokens, heads, width] = rows.dims();
        let places = position..position + tokens;
        match &mut self.numbers {
            Numbers::Plain(values, half) => {
                let rows = if *half { round_to_f16(rows) } else { rows };
                let place = [0..heads, places, 0..width];
                values.inplace(|values| values.slice_assign(place, rows.swap_dims(0, 1)));
            }
            Numbers::Codes([codes, scales]) => {
                let rows = quantize(rows);
                let groups = rows.codes.dims()[1];
                let put = |part: &mut Tensor<B, 4>, rows: Tensor<B, 3>| {
                    let n = rows.dims()[2];
                    let rows = rows.reshape([tokens, heads, groups, n]).swap_dims(0, 1);
                    let place = [0..heads, places.clone(), 0..groups, 0..n];
                    part.inplace(|part| part.slice_assign(place, rows));
                };
                put(codes, rows.codes);
                put(scales, round_to_f16(rows.scales));
            }
        }
    }

    /// What the scores of one token's queries, `[heads * shared, width]`, with
    /// rows `first..first + len` are made of, in the order in which it is added
    /// up: `[heads, terms, shared, len]`.
    pub(super) fn terms(&self, query: &Activation<B>, first: usize, len: usize) -> Tensor<B, 4> {
        let queries = query.values.dims()[0];
        match (&self.numbers, &query.codes) {
            (Numbers::Codes([codes, scales]), Some(query)) => {
                let [heads, _, groups, _] = codes.dims();
                // By group, as in a product of matrices.
                let query = query.clone().map(|x| {
                    let n = x.dims()[2];
                    x.reshape([heads, queries / heads, groups, n])
                        .swap_dims(1, 2)
                });
                let keys = codes.clone().narrow(1, first, len).permute([0, 2, 3, 1]);
                let key_scales = scales.clone().narrow(1, first, len).permute([0, 2, 3, 1]);
                let dot = query.codes.matmul(keys);
                (key_scales * query.scales) * dot
            }
            (Numbers::Codes([codes, _]), None) => {
                let [heads, _, groups, _] = codes.dims();
                let dims = [heads, groups, queries / heads, len];
                Tensor::full(dims, f32::NAN, &codes.device())
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
            Numbers::Codes(parts) => {
                let [codes, scales] = parts.clone().map(|part| part.narrow(1, first, len));
                let [heads, _, groups, _] = codes.dims();
                let values = (scales * codes).reshape([heads, len, groups * GROUP]);
                values.narrow(2, 0, self.width)
            }
        }
    }
}
