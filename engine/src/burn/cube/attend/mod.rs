//! Softmax attention over the cached rows, read as they lie.
//!
//! The context is shared out in chunks of 128 positions at absolute multiples of
//! 128. Each chunk has a maximum and sums of its own; a second launch folds them
//! in ascending order (Milakov and Gimelshein 2018), as
//! [`crate::kernels::attend`] does. A row is read once for a block of heads.

mod chunk;
mod fold;

use core::ops::Range;

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

impl View {
    /// The chunks that tokens `first` to `last` of the batch see.
    fn chunks(&self, first: usize, last: usize) -> Range<usize> {
        let oldest = (self.position + first + 1).saturating_sub(self.window);
        oldest / CHUNK..(self.position + last) / CHUNK + 1
    }
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
    fn new<R: CubeRuntime>(rows: &CubeRows<R>, queries: &Queries<R>) -> Self {
        let [first, second] = &rows.parts;
        let shared = queries.heads / rows.heads;
        Self {
            first: first.kind,
            second: second.kind,
            is_latent: queries.rotated.is_some(),
            heads: queries.heads,
            shared,
            block: largest_block(shared),
            context: first.context,
        }
    }

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
    let sums = tokens.saturating_mul(token).min(token.max(ROOM as u64));
    // A maximum and a sum for each `width` numbers.
    4 * (sums + 2 * sums.div_ceil(width.max(1)))
}

/// `[tokens, heads, width]` of the values.
pub(super) fn attend<R: CubeRuntime>(
    rows: &CubeRows<R>,
    queries: Queries<R>,
    view: View,
) -> CubeTensor<R> {
    let plan = Plan::new(rows, &queries);
    let (tokens, heads, width) = (queries.tokens, queries.heads, plan.value().width);
    let out = room(&queries.first, [tokens, heads, width], DType::F32);
    let most = view.chunks(0, tokens - 1).len();
    let tile = (ROOM / (most * heads * width)).clamp(1, tokens);
    for from in (0..tokens).step_by(tile) {
        let count = tile.min(tokens - from);
        attend_tile(rows, &queries, &view, &plan, from..from + count, &out);
    }
    out
}

/// The same of some of the tokens: all chunks in one launch, their fold in another.
fn attend_tile<R: CubeRuntime>(
    rows: &CubeRows<R>,
    queries: &Queries<R>,
    view: &View,
    plan: &Plan,
    tokens: Range<usize>,
    out: &CubeTensor<R>,
) {
    let (from, count) = (tokens.start as u32, tokens.len());
    let chunks = view.chunks(tokens.start, tokens.end - 1);
    let (heads, width) = (plan.heads, plan.value().width);
    let mixed = room(out, [count, heads, chunks.len(), width], DType::F32);
    let totals = room(out, [count, heads, chunks.len(), 2], DType::F32);
    let rotated = queries.rotated.as_ref().unwrap_or(&queries.first);
    let [first, second] = &rows.parts;
    let blocks = heads / plan.block;
    let client = out.client.clone();
    chunk::chunk_kernel::launch::<R>(
        &client,
        CubeCount::Static(chunks.len() as u32, blocks as u32, count as u32),
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
        from,
        chunks.start as u32,
        *plan,
    );
    fold::fold_kernel::launch::<R>(
        &client,
        CubeCount::Static(heads as u32, count as u32, 1),
        CubeDim::new_1d(CHUNK as u32),
        mixed.into_array_arg(),
        totals.into_array_arg(),
        out.clone().into_array_arg(),
        from,
        chunks.len() as u32,
        width,
    );
}

/// The largest divisor of `shared` that is at most [`HEADS`].
fn largest_block(shared: usize) -> usize {
    (1..=HEADS.min(shared))
        .rev()
        .find(|block| shared.is_multiple_of(*block))
        .unwrap_or(1)
}
