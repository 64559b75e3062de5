//! What attention takes: a call, its queries, and one group of their numbers
//! as kernels read them.

#[cfg(target_arch = "x86_64")]
use super::rows::STEP;
use crate::kv::Segment;
use crate::quant::GROUP;

/// Queries that wide kernels work on at a time, where there are vectors.
pub const WIDE: usize = 16;

/// Queries that narrow kernels work on at a time: for few queries, and for
/// processors without vectors, where it keeps the stack small.
pub(super) const NARROW: usize = 4;

/// What all queries of a call have in common.
#[derive(Debug, Clone, Copy)]
pub struct Attend<'a> {
    /// All cached rows of the layer that any of the queries sees.
    pub rows: &'a [u8],
    /// Bytes of a row.
    pub row_bytes: usize,
    /// The rows' segments that the parts of a query meet. The second may be
    /// empty.
    pub keys: [Segment; 2],
    /// The rows' segment that is summed.
    pub value: Segment,
    /// Factor on the scores.
    pub scale: f32,
}

/// The query of one head of one token: its score with a row is the
/// sum over its parts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    /// One part for each of [`Attend::keys`].
    pub parts: [QueryPart<'a>; 2],
    /// First and last position that it sees.
    pub first: usize,
    /// See `first`.
    pub last: usize,
}

/// One part of a query.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueryPart<'a> {
    /// The query's numbers, for plain segments.
    pub values: &'a [f32],
    /// The same, quantised: for segments of codes.
    pub codes: &'a [i8],
    /// Scales of the codes.
    pub scales: &'a [f32],
}

/// One group of each lane's query, four columns together.
pub(super) struct CodeQuery<const W: usize> {
    pub(super) codes: [[[i8; 4]; W]; GROUP / 4],
    pub(super) scales: [f32; W],
    /// Sums of the codes.
    pub(super) sums: [i32; W],
}

impl<const W: usize> CodeQuery<W> {
    /// Group `group` of part `part` of each query; zeros past the end.
    pub(super) fn new(queries: &[Query<'_>; W], part: usize, group: usize) -> Self {
        let mut query = Self {
            codes: [[[0; 4]; W]; GROUP / 4],
            scales: [0.0; W],
            sums: [0; W],
        };
        for (lane, part) in queries.iter().map(|query| &query.parts[part]).enumerate() {
            let codes = part.codes.as_chunks::<GROUP>().0.get(group);
            let (Some(codes), Some(scale)) = (codes, part.scales.get(group)) else {
                continue;
            };
            query.scales[lane] = *scale;
            for (quads, quad) in query.codes.iter_mut().zip(codes.as_chunks().0) {
                quads[lane] = *quad;
            }
            query.sums[lane] = codes.iter().map(|code| i32::from(*code)).sum();
        }
        query
    }
}

/// One group of each lane's query: `[columns, lanes]`.
pub(super) fn number_query<const W: usize>(
    queries: &[Query<'_>; W],
    part: usize,
    group: usize,
) -> [[f32; W]; GROUP] {
    let mut numbers = [[0.0; W]; GROUP];
    for (lane, query) in queries.iter().enumerate() {
        let values = query.parts[part].values.get(group * GROUP..);
        for (numbers, value) in numbers.iter_mut().zip(values.unwrap_or_default()) {
            numbers[lane] = *value;
        }
    }
    numbers
}

/// One group of each row.
#[cfg(target_arch = "x86_64")]
pub(super) type Lines<'a> = [&'a [u8; 2 * GROUP]; STEP];

/// One group of each query: `[columns, queries]`.
#[cfg(target_arch = "x86_64")]
pub(super) type Columns = [[f32; NARROW]; GROUP];

/// `[rows, queries]`.
#[cfg(target_arch = "x86_64")]
pub(super) type Scores = [[f32; NARROW]; STEP];
