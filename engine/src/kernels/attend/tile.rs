//! Queries that are worked on together, against one chunk after the other.

use super::mix::mix;
use super::query::{Attend, CodeQuery, Query};
use super::rows::{Rows, STEP};
use super::scores::{Kernel, score};
use super::softmax::weigh;
use super::total::{CHUNK, Total};
use crate::cut;
use crate::kernels::Isa;

/// Up to `W` queries, one per lane.
pub(super) struct Tile<'q, const W: usize> {
    queries: [Query<'q>; W],
    count: usize,
    /// First and last position that any of them sees.
    pub(super) first: usize,
    /// See `first`.
    pub(super) last: usize,
}

impl<'q, const W: usize> Tile<'q, W>
where
    CodeQuery<W>: Kernel<W>,
{
    /// The first `count` queries.
    pub(super) fn new(query: &dyn Fn(usize) -> Query<'q>, count: usize) -> Self {
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
    pub(super) fn fold_chunk(
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
