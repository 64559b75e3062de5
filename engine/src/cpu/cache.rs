//! The cache's memory: layers × context × rows.

use crate::cut;
use crate::kv::RowLayout;

/// One row per token and layer, in memory that the caller gave.
#[derive(Debug)]
pub(crate) struct Cache<'a> {
    bytes: &'a mut [u8],
    layout: RowLayout,
    context: usize,
}

impl<'a> Cache<'a> {
    /// A cache of `context` rows per layer over `bytes`.
    pub(crate) const fn new(bytes: &'a mut [u8], layout: RowLayout, context: usize) -> Self {
        Self {
            bytes,
            layout,
            context,
        }
    }

    /// Where a row's segments lie.
    pub(crate) const fn layout(&self) -> &RowLayout {
        &self.layout
    }

    /// The first `count` rows of layer `layer`, as many as there are.
    pub(crate) fn rows(&self, layer: usize, count: usize) -> &[u8] {
        let (start, len) = self.span(layer, count);
        cut::part(self.bytes, start, len)
    }

    /// Mutable [`Self::rows`].
    pub(crate) fn rows_mut(&mut self, layer: usize, count: usize) -> &mut [u8] {
        let (start, len) = self.span(layer, count);
        cut::part_mut(self.bytes, start, len)
    }

    /// The row of the token at `position`; empty past the end.
    pub(crate) fn row_mut(&mut self, layer: usize, position: usize) -> &mut [u8] {
        let row_bytes = self.layout.row_bytes;
        let start = (layer * self.context + position) * row_bytes;
        if position >= self.context {
            return &mut [];
        }
        cut::part_mut(self.bytes, start, row_bytes)
    }

    /// Start and length in bytes of the first `count` rows of layer `layer`.
    fn span(&self, layer: usize, count: usize) -> (usize, usize) {
        let row_bytes = self.layout.row_bytes;
        let start = layer * self.context * row_bytes;
        (start, count.min(self.context) * row_bytes)
    }
}
