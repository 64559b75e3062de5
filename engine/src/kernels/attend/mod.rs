//! Softmax attention of many queries over the same cached rows, read as they
//! lie.
//!
//! Queries stand in lanes: up to 16 heads (or heads of several tokens) meet a
//! row while it is in the cache nearest to the processor, so a row is read and
//! widened once for all of them. One query's numbers never meet another's.
//!
//! Positions are taken in chunks of [`CHUNK`], at absolute multiples of it.
//! A chunk has its own maximum and sum; chunks are folded together in
//! ascending order with a running maximum (Milakov and Gimelshein 2018). So
//! chunks may be computed by different threads, and the result depends neither
//! on the threads, nor on the batch, nor on which queries share the lanes.

#[cfg(target_arch = "x86_64")]
mod columns;
mod mix;
mod rows;
mod scores;
mod softmax;
mod store;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(test)]
mod tests;

use super::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::isa::Kind;
use super::math::exp;
use crate::cut;
use crate::kv::Segment;
use mix::mix;
use rows::{Rows, STEP};
use scores::{CodeQuery, Kernel, score};
use softmax::weigh;

/// Positions of a chunk.
pub const CHUNK: usize = 128;

/// Queries that wide kernels work on at a time, where there are vectors.
pub const WIDE: usize = 16;

/// Queries that narrow kernels work on at a time: for few queries, and for
/// processors without vectors, where it keeps the stack small.
const NARROW: usize = 4;

/// Whether the target may have vectors for wide kernels. Microcontrollers have
/// none: their programs leave out all that is wide.
const HAS_WIDE: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// What all queries of a call have in common.
#[derive(Debug, Clone, Copy)]
pub struct Attend<'a> {
    /// All cached rows of the layer that any of the queries sees.
    pub rows: &'a [u8],
    /// Bytes of a row.
    pub row_bytes: usize,
    /// The rows' segments that the parts of a query meet. The second may be
    /// empty.
    pub keys: [Segment; 2],
    /// The rows' segment that is summed.
    pub value: Segment,
    /// Factor on the scores.
    pub scale: f32,
}

/// What one head of one token asks of the cache: its score with a row is the
/// sum over its parts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    /// One part for each of [`Attend::keys`].
    pub parts: [QueryPart<'a>; 2],
    /// First and last position that it sees.
    pub first: usize,
    /// See `first`.
    pub last: usize,
}

/// One part of a query.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueryPart<'a> {
    /// The query's numbers, for plain segments.
    pub values: &'a [f32],
    /// The same, quantised: for segments of codes.
    pub codes: &'a [i8],
    /// Scales of the codes.
    pub scales: &'a [f32],
}

/// The largest score of some positions, and the sum of `e^(score - max)`.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Total {
    /// The largest score.
    pub max: f32,
    /// The weights' sum.
    pub sum: f32,
}

impl Total {
    /// Of no positions. Finite, so that differences are never NaN.
    pub const NONE: Self = Self {
        max: f32::MIN,
        sum: 0.0,
    };

    /// Adds `other`; returns the factors on what was summed here and there.
    fn fold(&mut self, other: Self) -> (f32, f32) {
        let max = if other.max > self.max {
            other.max
        } else {
            self.max
        };
        let (here, there) = (exp(self.max - max), exp(other.max - max));
        self.sum = self.sum * here + other.sum * there;
        self.max = max;
        (here, there)
    }
}

/// `out[i] = sum over positions of softmax(scale * query(i) . key) * value`,
/// for as many queries as `out` has room for.
pub fn attend<'q>(
    isa: Isa,
    task: &Attend<'_>,
    query: impl Fn(usize) -> Query<'q>,
    out: &mut [f32],
) {
    let width = task.value.len.max(1);
    let tile = tile_width(isa, out.len() / width);
    for (i, out) in out.chunks_mut((tile * width).max(1)).enumerate() {
        let query = |lane| query(i * tile + lane);
        out.fill(0.0);
        if HAS_WIDE && tile > NARROW {
            attend_tile::<WIDE>(isa, task, &query, out);
        } else {
            attend_tile::<NARROW>(isa, task, &query, out);
        }
    }
}

/// What chunk number `chunk` alone adds up to, for as many queries as `totals`
/// has entries: `out[i] = sum of e^(score - max) * value`.
pub fn attend_chunk<'q>(
    isa: Isa,
    task: &Attend<'_>,
    query: impl Fn(usize) -> Query<'q>,
    chunk: usize,
    out: &mut [f32],
    totals: &mut [Total],
) {
    let width = task.value.len.max(1);
    let tile = tile_width(isa, totals.len());
    out.fill(0.0);
    totals.fill(Total::NONE);
    let tiles = out
        .chunks_mut((tile * width).max(1))
        .zip(totals.chunks_mut(tile));
    for (i, (out, totals)) in tiles.enumerate() {
        let query = |lane| query(i * tile + lane);
        if HAS_WIDE && tile > NARROW {
            let tile = Tile::<WIDE>::new(&query, totals.len());
            tile.fold_chunk(isa, task, chunk, out, totals);
        } else {
            let tile = Tile::<NARROW>::new(&query, totals.len());
            tile.fold_chunk(isa, task, chunk, out, totals);
        }
    }
}

/// Folds the sums of later positions, `part`, into those of earlier ones.
pub fn fold(out: &mut [f32], total: &mut Total, part: &[f32], part_total: Total) {
    let (here, there) = total.fold(part_total);
    for (out, part) in out.iter_mut().zip(part) {
        *out = *out * here + *part * there;
    }
}

/// Divides the sums by the weights' sum.
pub fn finish(out: &mut [f32], total: Total) {
    let inverse = 1.0 / total.sum;
    for out in out.iter_mut() {
        *out *= inverse;
    }
}

fn tile_width(isa: Isa, queries: usize) -> usize {
    if queries > NARROW && has_wide_vectors(isa) {
        WIDE
    } else {
        NARROW
    }
}

/// Not on microcontrollers, whose stacks are small.
const fn has_wide_vectors(isa: Isa) -> bool {
    match isa.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::AvxVnni | Kind::Avx512Vnni => true,
        #[cfg(target_arch = "aarch64")]
        Kind::NeonDot | Kind::NeonI8mm => true,
        _ => false,
    }
}

#[inline(never)]
fn attend_tile<'q, const W: usize>(
    isa: Isa,
    task: &Attend<'_>,
    query: &dyn Fn(usize) -> Query<'q>,
    out: &mut [f32],
) where
    CodeQuery<W>: Kernel<W>,
{
    let width = task.value.len.max(1);
    let count = (out.len() / width).min(W);
    let tile = Tile::<W>::new(query, count);
    let mut totals = [Total::NONE; W];
    let totals = cut::first_mut(&mut totals, count);
    for chunk in tile.first / CHUNK..=tile.last / CHUNK {
        tile.fold_chunk(isa, task, chunk, out, totals);
    }
    for (out, total) in out.chunks_mut(width).zip(totals) {
        finish(out, *total);
    }
}

/// Queries that are worked on together, one a lane.
struct Tile<'q, const W: usize> {
    queries: [Query<'q>; W],
    count: usize,
    /// First and last position that any of them sees.
    first: usize,
    last: usize,
}

impl<'q, const W: usize> Tile<'q, W>
where
    CodeQuery<W>: Kernel<W>,
{
    fn new(query: &dyn Fn(usize) -> Query<'q>, count: usize) -> Self {
        let mut queries = [Query::default(); W];
        let (mut first, mut last) = (usize::MAX, 0);
        for (lane, slot) in queries.iter_mut().enumerate().take(count) {
            *slot = query(lane);
            first = first.min(slot.first);
            last = last.max(slot.last);
        }
        Self {
            queries,
            count,
            first: first.min(last),
            last,
        }
    }

    /// Folds one chunk into the lanes' sums.
    #[inline(never)]
    fn fold_chunk(
        &self,
        isa: Isa,
        task: &Attend<'_>,
        chunk: usize,
        out: &mut [f32],
        totals: &mut [Total],
    ) {
        // Rounded down, so that a position's place in the sums is the same
        // whatever the other lanes see.
        let start = (chunk * CHUNK).max(self.first / STEP * STEP);
        let end = (chunk * CHUNK + CHUNK).min(self.last + 1);
        if start >= end {
            return;
        }
        let rows = Rows {
            bytes: task.rows,
            row_bytes: task.row_bytes,
            first: start,
            count: end - start,
        };
        let mut weights = [[0.0; W]; CHUNK];
        let weights = cut::first_mut(&mut weights, rows.count.next_multiple_of(STEP));
        let [first, second] = &task.keys;
        let next = if second.len > 0 { second } else { &task.value };
        score(isa, &rows, [first, next], &self.queries, 0, weights);
        score(isa, &rows, [second, &task.value], &self.queries, 1, weights);
        let seen = self.queries.map(|query| {
            let first = query.first.max(start) - start;
            (first, (query.last + 1).max(start) - start)
        });
        let parts = weigh(isa, weights, rows.count, task.scale, &seen);
        let mut factors = [(1.0, 0.0); W];
        for ((total, part), factors) in totals.iter_mut().zip(parts).zip(&mut factors) {
            *factors = total.fold(part);
        }
        mix(
            isa,
            &rows,
            &task.value,
            weights,
            cut::first(&factors, self.count),
            out,
        );
    }
}
