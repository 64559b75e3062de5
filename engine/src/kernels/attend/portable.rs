//! The reference in plain Rust: queries of codes and rows of codes.

use super::query::CodeQuery;
use super::rows::CodeRows;

/// `scores += (row scale * query scale) * dot`, where
/// `dot = sum of query code * (row code - offset)`.
pub(super) fn add_codes<const W: usize>(
    query: &CodeQuery<W>,
    rows: &CodeRows,
    offset: i32,
    scores: &mut [[f32; W]],
) {
    for ((codes, scale), scores) in rows.codes.iter().zip(rows.scales).zip(scores) {
        let mut dots = query.sums.map(|sum| -offset * sum);
        for (quads, row) in query.codes.iter().zip(codes.as_chunks::<4>().0) {
            for (dot, quad) in dots.iter_mut().zip(quads) {
                for (a, b) in quad.iter().zip(row) {
                    *dot += i32::from(*a) * i32::from(*b);
                }
            }
        }
        for ((score, dot), query_scale) in scores.iter_mut().zip(dots).zip(query.scales) {
            *score += (scale * query_scale) * dot as f32;
        }
    }
}
