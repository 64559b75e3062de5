//! Softmax attention over the cached rows, read as they lie.
//!
//! The context is shared out in chunks of 128 positions at absolute multiples of
//! 128. Each chunk has a maximum and sums of its own; a second launch folds them
//! in ascending order (Milakov and Gimelshein 2018), as
//! [`crate::kernels::attend`] does. A row is read once for a block of heads.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::math::{LOWEST, exp};
use super::rows::{CubeRows, GROUP_WORDS, Numbers, PartKind, cached_number};
use super::tensors::room;
use super::unpack::code8;

/// Positions of a chunk, and units of a cube.
const CHUNK: usize = crate::kernels::attend::CHUNK;

/// Heads that a cube reads a row for.
const HEADS: usize = 8;

/// Numbers that the chunks of one launch may add up to: prompts whose chunks
/// have more come in several launches.
const ROOM: usize = 1 << 22;

/// The queries of some tokens.
#[derive(Debug)]
pub(super) struct Queries<R: CubeRuntime> {
    /// What meets the rows' first part: codes `[tokens, heads, groups, 32]`, or
    /// numbers `[tokens, heads, width]`.
    pub(super) first: CubeTensor<R>,
    /// `[tokens, heads, groups]`; of numbers, anything.
    pub(super) scales: CubeTensor<R>,
    /// What meets the second part, `[tokens, heads, width]`: MLA only.
    pub(super) rotated: Option<CubeTensor<R>>,
    pub(super) tokens: usize,
    pub(super) heads: usize,
}

/// What the tokens see.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) scale: f32,
    /// Position of the first token.
    pub(super) position: usize,
    /// Tokens that each token sees, its own included.
    pub(super) window: usize,
}

/// What the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Plan {
    first: PartKind,
    second: PartKind,
    is_latent: bool,
    heads: usize,
    /// Heads that share a cached head.
    shared: usize,
    /// Heads of a cube, which share a cached head.
    block: usize,
    context: usize,
}

impl Plan {
    const fn value(&self) -> PartKind {
        if self.is_latent {
            self.first
        } else {
            self.second
        }
    }
}

/// `[tokens, heads, width]` of the values.
pub(super) fn attend<R: CubeRuntime>(
    rows: &CubeRows<R>,
    queries: Queries<R>,
    view: View,
) -> CubeTensor<R> {
    let [first, second] = &rows.parts;
    let shared = queries.heads / rows.heads;
    let plan = Plan {
        first: first.kind,
        second: second.kind,
        is_latent: queries.rotated.is_some(),
        heads: queries.heads,
        shared,
        block: largest_block(shared),
        context: first.context,
    };
    let (tokens, heads) = (queries.tokens, queries.heads);
    let width = plan.value().width;
    let out = room(&queries.first, [tokens, heads, width], DType::F32);
    let rotated = queries
        .rotated
        .unwrap_or_else(|| room(&queries.first, [1], DType::F32));
    let chunks_of = |first: usize, last: usize| {
        let start = (view.position + first + 1).saturating_sub(view.window) / CHUNK;
        (start, (view.position + last) / CHUNK + 1 - start)
    };
    let most = chunks_of(0, tokens - 1).1;
    let tile = (ROOM / (most * heads * width)).clamp(1, tokens);
    let client = out.client.clone();
    for from in (0..tokens).step_by(tile) {
        let count = tile.min(tokens - from);
        let (start, chunks) = chunks_of(from, from + count - 1);
        let mixed = room(&out, [count, heads, chunks, width], DType::F32);
        let totals = room(&out, [count, heads, chunks, 2], DType::F32);
        let blocks = heads / plan.block;
        chunk_kernel::launch::<R>(
            &client,
            CubeCount::Static(chunks as u32, blocks as u32, count as u32),
            CubeDim::new_1d(CHUNK as u32),
            first.words.clone().into_array_arg(),
            second.words.clone().into_array_arg(),
            queries.first.clone().into_array_arg(),
            queries.scales.clone().into_array_arg(),
            rotated.clone().into_array_arg(),
            mixed.clone().into_array_arg(),
            totals.clone().into_array_arg(),
            view.scale,
            view.position as u32,
            view.window.min(u32::MAX as usize) as u32,
            from as u32,
            start as u32,
            plan,
        );
        fold_kernel::launch::<R>(
            &client,
            CubeCount::Static(heads as u32, count as u32, 1),
            CubeDim::new_1d(CHUNK as u32),
            mixed.into_array_arg(),
            totals.into_array_arg(),
            out.clone().into_array_arg(),
            from as u32,
            chunks as u32,
            width,
        );
    }
    out
}

/// The largest divisor of `shared` that is at most [`HEADS`].
fn largest_block(shared: usize) -> usize {
    (1..=HEADS.min(shared))
        .rev()
        .find(|block| shared.is_multiple_of(*block))
        .unwrap_or(1)
}

/// A cube has one chunk, a block of heads and one token; a unit has one
/// position, then some columns.
#[cube(launch)]
fn chunk_kernel(
    first: &Array<u32>,
    second: &Array<u32>,
    query: &Array<f32>,
    query_scales: &Array<f32>,
    rotated: &Array<f32>,
    mixed: &mut Array<f32>,
    totals: &mut Array<f32>,
    scale: f32,
    position: u32,
    window: u32,
    from: u32,
    start: u32,
    #[comptime] plan: Plan,
) {
    let unit = UNIT_POS_X as usize;
    let block = comptime!(plan.block);
    let head = CUBE_POS_Y as usize * block;
    let token = CUBE_POS_Z as usize;
    let own = position + from + CUBE_POS_Z;
    let place = (start + CUBE_POS_X) as usize * CHUNK;
    // Positions of the chunk that the token sees.
    let oldest = select(own < window, 0u32, own - min(own, window - 1u32)) as usize;
    let lowest = select(oldest > place, oldest - min(oldest, place), 0usize);
    let above = select(
        own as usize >= place,
        own as usize + 1 - min(own as usize, place),
        0usize,
    );
    let above = min(above, CHUNK);
    let cached = head / comptime!(plan.shared) * comptime!(plan.context);
    let vector = (from as usize + token) * comptime!(plan.heads) + head;

    let mut weights = SharedMemory::<f32>::new(comptime!(plan.block * CHUNK));
    if unit >= lowest && unit < above {
        let mut scores = Array::<f32>::new(block);
        #[unroll]
        for h in 0..block {
            scores[h] = 0.0f32;
        }
        let row = cached + place + unit;
        let at = row * comptime!(plan.first.words());
        score(
            first,
            at,
            query,
            query_scales,
            vector,
            &mut scores,
            plan.first,
            block,
        );
        if comptime!(plan.is_latent) {
            let at = row * comptime!(plan.second.words());
            let kind = comptime!(plan.second);
            score(
                second,
                at,
                rotated,
                query_scales,
                vector,
                &mut scores,
                kind,
                block,
            );
        }
        #[unroll]
        for h in 0..block {
            weights[h * CHUNK + unit] = scores[h] * scale;
        }
    }
    sync_cube();
    let totals_at = (token * comptime!(plan.heads) + head) * CUBE_COUNT_X as usize;
    weigh(&mut weights, totals, totals_at, lowest, above, block);
    let value = comptime!(plan.value());
    let at = (cached + place) * comptime!(plan.value().words());
    if comptime!(plan.is_latent) {
        mix(
            first, at, &weights, mixed, totals_at, lowest, above, value, block,
        );
    } else {
        mix(
            second, at, &weights, mixed, totals_at, lowest, above, value, block,
        );
    }
}

/// Adds the products of one cached vector with the queries of a block of heads,
/// group by group or column by column.
#[cube]
fn score(
    words: &Array<u32>,
    row: usize,
    query: &Array<f32>,
    query_scales: &Array<f32>,
    vector: usize,
    scores: &mut Array<f32>,
    #[comptime] kind: PartKind,
    #[comptime] block: usize,
) {
    if comptime!(kind.numbers == Numbers::Codes) {
        let groups = comptime!(kind.groups());
        for group in 0..groups {
            let at = row + group * GROUP_WORDS;
            let key_scale = f32::reinterpret(words[at]);
            let mut dots = Array::<f32>::new(block);
            #[unroll]
            for h in 0..block {
                dots[h] = 0.0f32;
            }
            for i in 0..8usize {
                let word = words[at + 1 + i];
                #[unroll]
                for byte in 0..4usize {
                    let code = code8(word, comptime!(byte as u32));
                    #[unroll]
                    for h in 0..block {
                        let from = ((vector + h) * groups + group) * 32;
                        dots[h] += code * query[from + i * 4 + byte];
                    }
                }
            }
            #[unroll]
            for h in 0..block {
                let query_scale = query_scales[(vector + h) * groups + group];
                scores[h] += (key_scale * query_scale) * dots[h];
            }
        }
    } else {
        let width = comptime!(kind.width);
        for column in 0..width {
            let key = cached_number(words, row, column, kind);
            #[unroll]
            for h in 0..block {
                scores[h] += query[(vector + h) * width + column] * key;
            }
        }
    }
}

/// Turns a chunk's scores into weights `e^(score - max)`, and keeps each head's
/// maximum and sum. Position `i` goes to sum `i mod 4`.
#[cube]
fn weigh(
    weights: &mut SharedMemory<f32>,
    totals: &mut Array<f32>,
    at: usize,
    lowest: usize,
    above: usize,
    #[comptime] block: usize,
) {
    let unit = UNIT_POS_X as usize;
    let mut largest = SharedMemory::<f32>::new(block);
    if unit < block {
        let mut best = LOWEST.runtime();
        for i in lowest..above {
            best = max(best, weights[unit * CHUNK + i]);
        }
        largest[unit] = best;
    }
    sync_cube();
    #[unroll]
    for h in 0..block {
        let mut weight = 0.0f32;
        if unit >= lowest && unit < above {
            weight = exp(weights[h * CHUNK + unit] - largest[h]);
        }
        weights[h * CHUNK + unit] = weight;
    }
    sync_cube();
    if unit < block {
        let mut sums = Array::<f32>::new(4usize);
        #[unroll]
        for lane in 0..4usize {
            let mut sum = 0.0f32;
            for i in 0..comptime!(CHUNK / 4) {
                sum += weights[unit * CHUNK + i * 4 + lane];
            }
            sums[lane] = sum;
        }
        let place = (at + unit * CUBE_COUNT_X as usize + CUBE_POS_X as usize) * 2;
        totals[place] = largest[unit];
        totals[place + 1] = (sums[0] + sums[2]) + (sums[1] + sums[3]);
    }
}

/// The weighted sums of the chunk's values; a unit has every 128th column.
#[cube]
fn mix(
    words: &Array<u32>,
    rows: usize,
    weights: &SharedMemory<f32>,
    mixed: &mut Array<f32>,
    at: usize,
    lowest: usize,
    above: usize,
    #[comptime] kind: PartKind,
    #[comptime] block: usize,
) {
    let width = comptime!(kind.width);
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let mut sums = Array::<f32>::new(block);
        #[unroll]
        for h in 0..block {
            sums[h] = 0.0f32;
        }
        for i in lowest..above {
            let value = cached_number(words, rows + i * comptime!(kind.words()), column, kind);
            #[unroll]
            for h in 0..block {
                sums[h] += weights[h * CHUNK + i] * value;
            }
        }
        #[unroll]
        for h in 0..block {
            let place = at + h * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
            mixed[place * width + column] = sums[h];
        }
        column += CHUNK;
    }
}

/// A cube has one head and one token, and folds its chunks; a unit has every
/// 128th column.
#[cube(launch)]
fn fold_kernel(
    mixed: &Array<f32>,
    totals: &Array<f32>,
    out: &mut Array<f32>,
    from: u32,
    chunks: u32,
    #[comptime] width: usize,
) {
    let vector = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    let first = vector * chunks as usize;
    let to = (from as usize * CUBE_COUNT_X as usize + vector) * width;
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let mut largest = totals[first * 2];
        let mut sum = totals[first * 2 + 1];
        let mut value = mixed[first * width + column];
        for chunk in 1..chunks as usize {
            let place = first + chunk;
            let both = max(largest, totals[place * 2]);
            let here = exp(largest - both);
            let there = exp(totals[place * 2] - both);
            largest = both;
            sum = sum * here + totals[place * 2 + 1] * there;
            value = value * here + mixed[place * width + column] * there;
        }
        out[to + column] = value * (1.0f32 / sum);
        column += CHUNK;
    }
}
