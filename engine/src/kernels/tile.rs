//! What matrix kernels take and give: the inputs of some tokens, and panels of
//! results.

use crate::quant::{GROUP, LANES};

/// Input vectors of a matrix product, some or all of the tokens of a batch.
///
/// Integer weights use `codes`, `scales` and `sums`, the others `values`. All
/// tokens stand one after the other, `stride` columns each.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// `[tokens, stride]` numbers; zeros past the end of a row.
    pub values: &'a [f32],
    /// `[tokens, stride]` codes.
    pub codes: &'a [i8],
    /// `[tokens, stride / 32]` scales.
    pub scales: &'a [f32],
    /// `[tokens, stride / 32]` sums of codes.
    pub sums: &'a [i32],
    /// Columns from one token to the next: a multiple of 32.
    pub stride: usize,
    /// First column used: a multiple of 32.
    pub offset: usize,
    /// Which tokens, or all of the first `count`.
    pub picked: Option<&'a [u32]>,
    /// How many tokens.
    pub count: usize,
}

impl<'a> Inputs<'a> {
    /// The inputs of `T` tokens from the `first`-th on. Anything out of range
    /// reads as an empty input.
    pub(super) fn tile<const T: usize>(&self, first: usize) -> Tile<'a, T> {
        let groups = self.scales.len().min(self.sums.len());
        let codes = self.codes.as_chunks().0;
        let groups = groups.min(codes.len());
        Tile {
            values: self.values.as_chunks().0,
            codes: &codes[..groups],
            scales: &self.scales[..groups],
            sums: &self.sums[..groups],
            starts: core::array::from_fn(|t| self.start(first + t)),
        }
    }

    /// The first group of the `index`-th of the tokens.
    fn start(&self, index: usize) -> usize {
        let token = match self.picked {
            Some(picked) => picked
                .get(index)
                .map_or(usize::MAX, |token| *token as usize),
            None => index,
        };
        // Half of the largest number: adding a group's index does not wrap.
        let column = token
            .saturating_mul(self.stride)
            .saturating_add(self.offset);
        column.min(usize::MAX / 2) / GROUP
    }
}

/// The inputs of `T` tokens, which a kernel takes at a time: as many scales and
/// sums as groups of codes.
pub(super) struct Tile<'a, const T: usize> {
    values: &'a [[f32; GROUP]],
    codes: &'a [[i8; GROUP]],
    scales: &'a [f32],
    sums: &'a [i32],
    /// Where each token's groups start.
    starts: [usize; T],
}

/// The groups of one token's row: equally many of each.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Groups<'a> {
    pub(super) codes: &'a [[i8; GROUP]],
    pub(super) scales: &'a [f32],
    pub(super) sums: &'a [i32],
}

#[cfg(target_arch = "x86_64")]
impl<'a, const T: usize> Tile<'a, T> {
    /// Each token's first `count` groups; `None` if any is missing. In a loop
    /// over `count` blocks the compiler can then see that each index is in
    /// range.
    #[inline(always)]
    pub(super) fn groups(&self, count: usize) -> Option<[Groups<'a>; T]> {
        let mut tokens = [Groups {
            codes: &[],
            scales: &[],
            sums: &[],
        }; T];
        for (token, start) in tokens.iter_mut().zip(self.starts) {
            let range = start..start.checked_add(count)?;
            *token = Groups {
                codes: self.codes.get(range.clone())?,
                scales: self.scales.get(range.clone())?,
                sums: self.sums.get(range)?,
            };
        }
        Some(tokens)
    }
}

impl<const T: usize> Tile<'_, T> {
    /// Codes, scale and sum of codes of token `t`'s group `g`; nothing past
    /// the end.
    #[inline(always)]
    pub(super) fn group(&self, t: usize, g: usize) -> Option<(&[i8; GROUP], f32, i32)> {
        let at = self.starts[t] + g;
        match (self.codes.get(at), self.scales.get(at), self.sums.get(at)) {
            (Some(codes), Some(scale), Some(sum)) => Some((codes, *scale, *sum)),
            _ => None,
        }
    }

    /// All of token `t`'s codes, scales and sums, and what follows them.
    #[cfg(dsp)]
    pub(super) fn from(&self, t: usize) -> (&[[i8; GROUP]], &[f32], &[i32]) {
        let start = self.starts.get(t).copied().unwrap_or(usize::MAX);
        (
            self.codes.get(start..).unwrap_or_default(),
            self.scales.get(start..).unwrap_or_default(),
            self.sums.get(start..).unwrap_or_default(),
        )
    }

    /// The numbers of token `t`'s group `g`; nothing past the end.
    #[inline(always)]
    pub(super) fn values(&self, t: usize, g: usize) -> Option<&[f32; GROUP]> {
        self.values.get(self.starts[t] + g)
    }
}

/// Where the results of a tile go: one panel of `[tokens, 16]` per block row.
pub(super) struct Panels<'a> {
    data: &'a mut [f32],
    /// Numbers of a panel.
    stride: usize,
    /// The tile's first token.
    first: usize,
}

impl<'a> Panels<'a> {
    /// Panels of `count` tokens each, filled from token `first` on.
    pub(super) const fn new(data: &'a mut [f32], count: usize, first: usize) -> Self {
        Self {
            data,
            stride: LANES * count,
            first,
        }
    }

    /// Each block row of `len` bytes with the results of its `T` tokens.
    #[inline(always)]
    pub(super) fn rows<'b, const T: usize>(
        self,
        blocks: &'b [u8],
        len: usize,
    ) -> impl Iterator<Item = (&'b [u8], &'a mut [[f32; LANES]; T])> {
        let first = self.first;
        let panels = self.data.chunks_exact_mut(self.stride.max(1));
        let rows = blocks.chunks_exact(len.max(1)).zip(panels);
        rows.filter_map(move |(row, panel)| {
            let tokens = panel.as_chunks_mut::<LANES>().0.get_mut(first..)?;
            Some((row, tokens.first_chunk_mut::<T>()?))
        })
    }
}

/// Independent sums: more than an instruction's latency times the number that
/// start per cycle, and no more than there are registers.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) const SUMS: usize = 12;
