//! Scores of queries and keys, one group of 32 columns after the other.
//!
//! Against codes, a group's products are summed exactly in `i32`, then
//! `score = score + (key scale * query scale) * sum`, and for codes that have a
//! minimum `score = score + minimum * (query scale * sum of query codes)`.
//! Against plain numbers, columns are added one by one in ascending order.

#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(
        unsafe_code,
        reason = "calls kernels of an instruction set, which an `Isa` proves to be there"
    )
)]

#[cfg(target_arch = "x86_64")]
use super::columns::score_columns;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
use super::query::{CodeQuery, NARROW, Query, WIDE, number_query};
use super::rows::{CodeRows, NumberRows, Rows, STEP, code_offset, stage_codes, stage_numbers};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::kernels::Isa;
use crate::kernels::dispatch::for_each_isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::kernels::isa::Kind;
use crate::kv::Segment;
use crate::quant::{GROUP, SegmentFormat};

/// Adds part number `part` of each query's score with each row. Segment `next`
/// of the rows is read after `key`.
pub(super) fn score<const W: usize>(
    isa: Isa,
    rows: &Rows<'_>,
    [key, next]: [&Segment; 2],
    queries: &[Query<'_>; W],
    part: usize,
    scores: &mut [[f32; W]],
) where
    CodeQuery<W>: Kernel<W>,
{
    #[cfg(target_arch = "x86_64")]
    if let Some(queries) = queries.as_array() {
        let scores = scores.as_flattened_mut().as_chunks_mut().0;
        if score_columns(isa, rows, [key, next], queries, part, scores) {
            return;
        }
    }
    for group in 0..key.len.div_ceil(GROUP) {
        match key.format {
            SegmentFormat::F32 | SegmentFormat::F16 => {
                let query = number_query(queries, part, group);
                let mut staged: NumberRows = [[0.0; GROUP]; STEP];
                for (i, scores) in scores.chunks_mut(STEP).enumerate() {
                    rows.prefetch_ahead(key, group, i * STEP, next);
                    stage_numbers(isa, rows, key, group, i * STEP, &mut staged);
                    add_numbers(isa, &query, &staged, scores);
                }
            }
            SegmentFormat::Q8 | SegmentFormat::Q4 => {
                let query = CodeQuery::new(queries, part, group);
                let weighted: [f32; W] =
                    core::array::from_fn(|lane| query.scales[lane] * query.sums[lane] as f32);
                let mut staged = CodeRows::EMPTY;
                for (i, scores) in scores.chunks_mut(STEP).enumerate() {
                    rows.prefetch_ahead(key, group, i * STEP, next);
                    stage_codes(isa, rows, key, group, i * STEP, &mut staged);
                    query.add_codes(isa, &staged, code_offset(key.format), scores);
                    if key.format == SegmentFormat::Q4 {
                        add_minima(isa, &weighted, &staged.mins, scores.as_flattened_mut());
                    }
                }
            }
        }
    }
}

/// The numbers of queries that there are kernels for: 4 and 16.
pub(super) trait Kernel<const W: usize> {
    /// As [`portable::add_codes`].
    fn add_codes(&self, isa: Isa, rows: &CodeRows, offset: i32, scores: &mut [[f32; W]]);
}

impl Kernel<WIDE> for CodeQuery<WIDE> {
    fn add_codes(&self, isa: Isa, rows: &CodeRows, offset: i32, scores: &mut [[f32; WIDE]]) {
        match isa.0 {
            // SAFETY: an `Isa` of this kind exists only if detection found the
            // features that the function is compiled for.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 | Kind::AvxVnni => unsafe {
                avx2::add_codes_wide(self, rows, offset, scores)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => unsafe { avx512::add_codes_wide(self, rows, offset, scores) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot | Kind::NeonI8mm => unsafe {
                neon::add_codes(self, rows, offset, scores)
            },
            _ => portable::add_codes(self, rows, offset, scores),
        }
    }
}

impl Kernel<NARROW> for CodeQuery<NARROW> {
    fn add_codes(&self, isa: Isa, rows: &CodeRows, offset: i32, scores: &mut [[f32; NARROW]]) {
        match isa.0 {
            // SAFETY: as for 16 queries.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 | Kind::AvxVnni => unsafe {
                avx2::add_codes_narrow(self, rows, offset, scores)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => unsafe { avx512::add_codes_narrow(self, rows, offset, scores) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot | Kind::NeonI8mm => unsafe {
                neon::add_codes(self, rows, offset, scores)
            },
            _ => portable::add_codes(self, rows, offset, scores),
        }
    }
}

for_each_isa! {
    /// `scores[row][lane] += mins[row] * weighted[lane]`.
    pub fn add_minima(weighted: &[f32], mins: &[f32], scores: &mut [f32]) {
        match weighted.as_array::<WIDE>() {
            Some(weighted) => add_products(weighted, mins, scores),
            None => add_products::<NARROW>(weighted.as_array().unwrap_or(&[0.0; NARROW]), mins, scores),
        }
    }
}

#[inline(always)]
fn add_products<const W: usize>(weighted: &[f32; W], mins: &[f32], scores: &mut [f32]) {
    for (scores, min) in scores.as_chunks_mut::<W>().0.iter_mut().zip(mins) {
        for lane in 0..W {
            scores[lane] += min * weighted[lane];
        }
    }
}

/// `scores[row][lane] += query[column][lane] * row[column]`, column by column.
fn add_numbers<const W: usize>(
    isa: Isa,
    query: &[[f32; W]; GROUP],
    rows: &NumberRows,
    scores: &mut [[f32; W]],
) {
    match isa.0 {
        // SAFETY: as in `Kernel::add_codes`.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::AvxVnni => unsafe { add_numbers_avx2(query, rows, scores) },
        // SAFETY: as in `Kernel::add_codes`.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512Vnni => unsafe { add_numbers_avx512(query, rows, scores) },
        _ => add_numbers_body(query, rows, scores),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_numbers_avx2<const W: usize>(
    query: &[[f32; W]; GROUP],
    rows: &NumberRows,
    scores: &mut [[f32; W]],
) {
    add_numbers_body(query, rows, scores);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn add_numbers_avx512<const W: usize>(
    query: &[[f32; W]; GROUP],
    rows: &NumberRows,
    scores: &mut [[f32; W]],
) {
    add_numbers_body(query, rows, scores);
}

#[inline(always)]
fn add_numbers_body<const W: usize>(
    query: &[[f32; W]; GROUP],
    rows: &NumberRows,
    scores: &mut [[f32; W]],
) {
    /// Rows that are worked on together, so that sums need not wait.
    const TOGETHER: usize = 4;
    let scores = scores.as_chunks_mut::<TOGETHER>().0.iter_mut();
    for (scores, rows) in scores.zip(rows.as_chunks::<TOGETHER>().0) {
        let mut sums = *scores;
        for (column, query) in query.iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(rows) {
                for (sum, query) in sums.iter_mut().zip(query) {
                    *sum += query * row[column];
                }
            }
        }
        *scores = sums;
    }
}
