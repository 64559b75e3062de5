//! Softmax attention of many queries over the same cached rows, read as they
//! lie.
//!
//! Queries stand in lanes: up to 16 heads (or heads of several tokens) meet a
//! row while it is in the first-level cache, so a row is read and
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
mod portable;
mod query;
mod rows;
mod scores;
mod softmax;
mod store;
mod tile;
mod total;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(test)]
mod tests;

pub use query::{Attend, Query, QueryPart, WIDE};
pub use total::{CHUNK, Total, finish, fold};

use super::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::isa::Kind;
use crate::cut;
use query::{CodeQuery, NARROW};
use scores::Kernel;
use tile::Tile;

/// Whether the target may have vectors for wide kernels. Microcontrollers have
/// none: their programs leave out all that is wide.
const HAS_WIDE: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

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
