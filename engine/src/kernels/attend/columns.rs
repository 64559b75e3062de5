//! Scores of few queries and keys of 16-bit numbers: rows in lanes.
//!
//! With 16 queries in lanes every lane has work. Grouped-query attention has
//! three or four queries per key, so there the rows stand in lanes: their
//! columns are turned into vectors of rows, each of which meets one number of a
//! query at a time. One score is still summed column by column in ascending
//! order, so the bits are those of the other way.

#![expect(
    unsafe_code,
    reason = "calls kernels of an instruction set, which an `Isa` proves to be there"
)]

use super::query::{Columns, Lines, NARROW, Query, Scores, number_query};
use super::rows::{Rows, STEP};
use super::{avx2, avx512};
use crate::kernels::Isa;
use crate::kernels::isa::Kind;
use crate::kv::Segment;
use crate::quant::{GROUP, SegmentFormat};

/// As [`super::scores::score`]; returns `false`, having done nothing, where
/// there is no such kernel.
pub(super) fn score_columns(
    isa: Isa,
    rows: &Rows<'_>,
    [key, next]: [&Segment; 2],
    queries: &[Query<'_>; NARROW],
    part: usize,
    scores: &mut [[f32; NARROW]],
) -> bool {
    if key.format != SegmentFormat::F16 || isa.0 == Kind::Portable {
        return false;
    }
    let mut spare = [[0; 2 * GROUP]; STEP];
    for group in 0..key.len.div_ceil(GROUP) {
        let query = number_query(queries, part, group);
        for (i, scores) in scores.as_chunks_mut().0.iter_mut().enumerate() {
            rows.prefetch_ahead(key, group, i * STEP, next);
            let lines = rows.lines(key, group, i * STEP, &mut spare);
            add_halves(isa, &query, &lines, scores);
        }
    }
    true
}

/// `scores[row][i] += query[column][i] * lines[row][column]`, column by column.
fn add_halves(isa: Isa, query: &Columns, lines: &Lines<'_>, scores: &mut Scores) {
    match isa.0 {
        // SAFETY: an `Isa` of this kind exists only if detection found the
        // features that the function is compiled for.
        Kind::Avx2 | Kind::AvxVnni => unsafe { avx2::add_halves(query, lines, scores) },
        // SAFETY: as above.
        Kind::Avx512Vnni => unsafe { avx512::add_halves(query, lines, scores) },
        Kind::Portable => {}
    }
}
