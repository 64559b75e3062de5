//! Softmax attention over the cached rows, read as they lie.
//!
//! The context is shared out in chunks of 128 positions at absolute multiples of
//! 128. Each chunk has a maximum and sums of its own; a second launch folds them
//! in ascending order (Milakov and Gimelshein 2018), as
//! [`crate::kernels::attend`] does. A row is read once for a block of heads.

mod chunk;
mod fold;

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::rows::{CubeRows, PartKind};
use super::tensors::room;

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

/// Bytes of the chunks' sums of one launch, for `tokens` tokens that see `seen`
/// others.
pub(super) fn part_bytes(tokens: u64, heads: u64, width: u64, seen: u64) -> u64 {
    let token = seen.div_ceil(CHUNK as u64) * heads * width;
    let sums = (tokens * token).min(token.max(ROOM as u64));
    // A maximum and a sum for each `width` numbers.
    4 * (sums + 2 * sums.div_ceil(width.max(1)))
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
        chunk::chunk_kernel::launch::<R>(
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
        fold::fold_kernel::launch::<R>(
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
