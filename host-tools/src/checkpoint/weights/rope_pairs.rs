//! The order of rows that RoPE rotates.

/// RoPE pairs that stand side by side in the checkpoint, to be split in halves:
/// first members first.
#[derive(Debug, Clone, Copy)]
pub(super) struct RopePairs {
    head_rows: u32,
    plain_rows: u32,
    half: u32,
}

impl RopePairs {
    /// Of every head's `head_rows`, the last `rope_rows` (even, not 0) are pairs.
    pub(super) const fn new(head_rows: u32, rope_rows: u32) -> Self {
        Self {
            head_rows,
            plain_rows: head_rows - rope_rows,
            half: rope_rows / 2,
        }
    }

    /// The stored row that becomes canonical row `row`.
    pub(super) const fn source(self, row: u32) -> u32 {
        let (head, place) = (row / self.head_rows, row % self.head_rows);
        if place < self.plain_rows {
            return row;
        }
        let rotated = place - self.plain_rows;
        let pair = rotated % self.half;
        let second = rotated / self.half;
        head * self.head_rows + self.plain_rows + 2 * pair + second
    }

    /// Reorders a vector's elements, as if they were rows.
    pub(super) fn split_elements(self, values: &mut [f32]) {
        let stored = values.to_vec();
        for (row, value) in (0..).zip(values) {
            *value = stored[self.source(row) as usize];
        }
    }
}
