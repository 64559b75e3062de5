//! Softmax attention of one query over cached rows, read as they lie.
//!
//! Positions are taken in blocks of 64, aligned to multiples of 64, with a
//! running maximum and sum (Milakov and Gimelshein 2018): the result depends
//! neither on the batch nor on the number of threads, and needs no memory that
//! grows with the context.

use super::dispatch::for_each_isa;
use super::math::{exp, widen_f16};
use super::reduce::{self, LANES};
use crate::kv::{Segment, SegmentFormat};
use crate::quant::GROUP;

/// Positions that share one step of the running softmax.
const BLOCK: usize = 64;

/// One segment of a query and the segment of each row that it meets.
#[derive(Debug, Clone, Copy)]
pub struct QueryPart<'a> {
    /// The rows' segment.
    pub key: Segment,
    /// The query's numbers.
    pub values: &'a [f32],
    /// The same, quantised: for `q8` segments.
    pub codes: &'a [i8],
    /// Scales of the codes.
    pub scales: &'a [f32],
}

/// What one head of one token asks of the cache.
#[derive(Debug, Clone, Copy)]
pub struct Attend<'a> {
    /// All cached rows of the layer up to the token's own.
    pub rows: &'a [u8],
    /// Bytes of a row.
    pub row_bytes: usize,
    /// The query; a score is the sum over its parts. The second part may be
    /// empty.
    pub query: [QueryPart<'a>; 2],
    /// The rows' segment that is summed.
    pub value: Segment,
    /// Factor on the scores.
    pub scale: f32,
    /// First and last position that the token sees.
    pub first: usize,
    /// See `first`.
    pub last: usize,
}

for_each_isa! {
    /// `out = sum over positions of softmax(scale * query . key) * value`.
    pub fn attend(task: &Attend<'_>, out: &mut [f32]) {
        out.fill(0.0);
        let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0_f32);
        let mut start = task.first;
        while start <= task.last {
            let end = (start / BLOCK * BLOCK + BLOCK).min(task.last + 1);
            let mut scores = [0.0_f32; BLOCK];
            let scores = &mut scores[..end - start];
            let mut block_max = max;
            for (score, position) in scores.iter_mut().zip(start..end) {
                *score = task.score(position);
                block_max = if *score > block_max { *score } else { block_max };
            }
            let shrink = exp(max - block_max);
            max = block_max;
            for score in scores.iter_mut() {
                *score = exp(*score - max);
            }
            sum = sum * shrink + reduce::sum(scores);
            for out in out.iter_mut() {
                *out *= shrink;
            }
            for (weight, position) in scores.iter().zip(start..end) {
                add_segment(&task.value, task.row(position), *weight, out);
            }
            start = end;
        }
        let inverse = 1.0 / sum;
        for out in out.iter_mut() {
            *out *= inverse;
        }
    }
}

impl<'a> Attend<'a> {
    #[inline(always)]
    fn row(&self, position: usize) -> &'a [u8] {
        let start = position * self.row_bytes;
        self.rows
            .get(start..start + self.row_bytes)
            .unwrap_or_default()
    }

    #[inline(always)]
    fn score(&self, position: usize) -> f32 {
        let row = self.row(position);
        let [first, second] = &self.query;
        (first.score(row) + second.score(row)) * self.scale
    }
}

impl QueryPart<'_> {
    /// A part of the same kind without any numbers: its score is 0.
    pub const fn empty(&self) -> Self {
        Self {
            key: Segment { len: 0, ..self.key },
            values: &[],
            codes: &[],
            scales: &[],
        }
    }

    #[inline(always)]
    fn score(&self, row: &[u8]) -> f32 {
        let bytes = segment_bytes(&self.key, row);
        match self.key.format {
            SegmentFormat::F32 => {
                dot_plain(self.values, bytes.as_chunks::<4>().0, f32::from_le_bytes)
            }
            SegmentFormat::F16 => dot_plain(
                self.values,
                bytes.as_chunks::<2>().0,
                #[inline(always)]
                |b| widen_f16(u16::from_le_bytes(b)),
            ),
            SegmentFormat::Q8 => {
                let (codes, scales) = split_q8(&self.key, bytes);
                let query = self.codes.as_chunks::<GROUP>().0.iter().zip(self.scales);
                let mut acc = 0.0;
                for ((key, scale), (query, query_scale)) in codes.iter().zip(scales).zip(query) {
                    let mut dot = 0_i32;
                    for (key, query) in key.iter().zip(query) {
                        dot += i32::from(key.cast_signed()) * i32::from(*query);
                    }
                    acc += (widen_f16(u16::from_le_bytes(*scale)) * query_scale) * dot as f32;
                }
                acc
            }
        }
    }
}

/// Dot product over 16 virtual lanes with numbers that are widened on the way.
#[inline(always)]
fn dot_plain<const N: usize>(a: &[f32], b: &[[u8; N]], widen: impl Fn([u8; N]) -> f32) -> f32 {
    let len = a.len().min(b.len());
    let mut lanes = [0.0; LANES];
    let (a_chunks, a_rest) = a[..len].as_chunks::<LANES>();
    let (b_chunks, b_rest) = b[..len].as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += a[i] * widen(b[i]);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * widen(*b);
    }
    reduce::tree(lanes)
}

/// `out += weight * segment`.
#[inline(always)]
fn add_segment(segment: &Segment, row: &[u8], weight: f32, out: &mut [f32]) {
    let bytes = segment_bytes(segment, row);
    match segment.format {
        SegmentFormat::F32 => {
            for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out += weight * f32::from_le_bytes(*value);
            }
        }
        SegmentFormat::F16 => {
            for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out += weight * widen_f16(u16::from_le_bytes(*value));
            }
        }
        SegmentFormat::Q8 => {
            let (codes, scales) = split_q8(segment, bytes);
            for ((out, codes), scale) in out.chunks_mut(GROUP).zip(codes).zip(scales) {
                let factor = weight * widen_f16(u16::from_le_bytes(*scale));
                for (out, code) in out.iter_mut().zip(codes) {
                    *out += factor * f32::from(code.cast_signed());
                }
            }
        }
    }
}

#[inline(always)]
fn segment_bytes<'a>(segment: &Segment, row: &'a [u8]) -> &'a [u8] {
    row.get(segment.offset..segment.offset + segment.bytes())
        .unwrap_or_default()
}

/// The codes and the scales of a `q8` segment.
#[inline(always)]
fn split_q8<'a>(segment: &Segment, bytes: &'a [u8]) -> (&'a [[u8; GROUP]], &'a [[u8; 2]]) {
    let codes = segment.len.next_multiple_of(GROUP).min(bytes.len());
    let (codes, scales) = bytes.split_at(codes);
    (codes.as_chunks().0, scales.as_chunks().0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;
    use crate::kernels::quantize::quantize;

    const LEN: usize = 64;
    const ROWS: usize = 150;

    fn number(i: usize) -> f32 {
        libm::sinf(i as f32 * 0.731) * 1.5
    }

    fn check(format: SegmentFormat, tolerance: f64) {
        let segment = Segment {
            format,
            offset: 0,
            len: LEN,
        };
        let row_bytes = segment.bytes();
        let mut rows = [0; ROWS * LEN * 4];
        let rows = &mut rows[..ROWS * row_bytes];
        for (r, row) in rows.chunks_mut(row_bytes).enumerate() {
            let values: [f32; LEN] = core::array::from_fn(|i| number(r * LEN + i));
            segment.store(&values, row);
        }
        let query: [f32; LEN] = core::array::from_fn(|i| number(i * i + 5));
        let (mut codes, mut scales, mut sums) = ([0; LEN], [0.0; 2], [0; 2]);
        quantize(Isa::PORTABLE, &query, &mut codes, &mut scales, &mut sums);
        let part = QueryPart {
            key: segment,
            values: &query,
            codes: &codes,
            scales: &scales,
        };
        let task = Attend {
            rows,
            row_bytes,
            query: [part, part.empty()],
            value: segment,
            scale: 0.3,
            first: 3,
            last: ROWS - 1,
        };

        let score = |r: usize| -> f64 {
            let dot: f64 = (0..LEN)
                .map(|i| f64::from(query[i]) * f64::from(number(r * LEN + i)))
                .sum();
            libm::exp(dot * f64::from(0.3_f32))
        };
        let total: f64 = (3..ROWS).map(score).sum();
        let mut first_bits = None;
        for isa in Isa::available() {
            let mut out = [0.0; LEN];
            attend(isa, &task, &mut out);
            for (i, value) in out.iter().enumerate() {
                let expected: f64 = (3..ROWS)
                    .map(|r| score(r) / total * f64::from(number(r * LEN + i)))
                    .sum();
                let error = (f64::from(*value) - expected).abs();
                assert!(error < tolerance, "{format:?}: {error}");
            }
            let bits = out.map(f32::to_bits);
            assert_eq!(bits, *first_bits.get_or_insert(bits), "{}", isa.name());
        }
    }

    #[test]
    fn attention_is_the_weighted_mean_of_the_values() {
        check(SegmentFormat::F32, 1e-5);
        check(SegmentFormat::F16, 2e-2);
        check(SegmentFormat::Q8, 2e-1);
    }
}
