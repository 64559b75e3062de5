//! A few cached rows, one group of 32 columns at a time, widened for all lanes.

use crate::kernels::dispatch::for_each_isa;
use crate::kv::Segment;
use crate::math::widen_f16;
use crate::quant::{GROUP, SegmentFormat};

/// Rows that are widened at a time.
pub(super) const STEP: usize = 16;

/// Neighbouring rows of one layer's cache.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// All rows from position 0 on.
    pub bytes: &'a [u8],
    /// Bytes of a row.
    pub row_bytes: usize,
    /// The first of these rows.
    pub first: usize,
    /// How many.
    pub count: usize,
}

/// Codes of one group of up to [`STEP`] rows: `scale * (code - offset) + min`,
/// where `offset` is [`code_offset`].
#[derive(Debug)]
pub struct CodeRows {
    /// `[rows, columns]`.
    pub codes: [[u8; GROUP]; STEP],
    /// The rows' scales.
    pub scales: [f32; STEP],
    /// The rows' minima; zeros where the format has none.
    pub mins: [f32; STEP],
}

/// Numbers of one group of up to [`STEP`] rows.
pub type NumberRows = [[f32; GROUP]; STEP];

impl CodeRows {
    pub(super) const EMPTY: Self = Self {
        codes: [[0; GROUP]; STEP],
        scales: [0.0; STEP],
        mins: [0.0; STEP],
    };
}

/// The offset that the codes of [`stage_codes`] carry.
pub(super) const fn code_offset(format: SegmentFormat) -> i32 {
    match format {
        SegmentFormat::Q8 => 128,
        _ => 0,
    }
}

impl<'a> Rows<'a> {
    /// The `segment` of the rows from `start` on, at most [`STEP`] of them.
    #[inline(always)]
    fn segments(&self, segment: &Segment, start: usize) -> impl Iterator<Item = &'a [u8]> {
        let bytes = (self.first + self.count) * self.row_bytes;
        debug_assert!(bytes <= self.bytes.len(), "rows are missing");
        let end = segment.offset + segment.bytes();
        debug_assert!(end <= self.row_bytes, "rows end inside a segment");
        let rows = self.bytes.get((self.first + start) * self.row_bytes..);
        let rows = rows.unwrap_or_default().chunks_exact(self.row_bytes.max(1));
        let first = segment.offset;
        rows.take(STEP.min(self.count - start))
            .map(move |row| row.get(first..end).unwrap_or_default())
    }
}

#[cfg(target_arch = "x86_64")]
impl<'a> Rows<'a> {
    /// Group `group` of a `segment` of 16-bit numbers, of each row from `start`
    /// on; zeros past the ends of segment and rows. Where the segment ends inside
    /// the group, it is copied to `spare`, which is zeros at first.
    #[inline(always)]
    pub(super) fn lines<'s>(
        &self,
        segment: &Segment,
        group: usize,
        start: usize,
        spare: &'s mut [[u8; 2 * GROUP]; STEP],
    ) -> [&'s [u8; 2 * GROUP]; STEP]
    where
        'a: 's,
    {
        let mut lines = [&[0; 2 * GROUP]; STEP];
        let rows = self.segments(segment, start).zip(spare);
        for (line, (row, spare)) in lines.iter_mut().zip(rows) {
            let row = row.get(2 * GROUP * group..).unwrap_or_default();
            *line = row.first_chunk().unwrap_or_else(|| {
                for (to, from) in spare.iter_mut().zip(row) {
                    *to = *from;
                }
                spare
            });
        }
        lines
    }
}

impl Rows<'_> {
    /// Prefetches what is read after group `group` of `segment` of the rows
    /// from `start` on: their next group or, after the last one, the first of
    /// segment `next`. The first group also prefetches the rows of a few steps
    /// later. (Rows lie too far apart for the processor to foresee them.)
    #[inline(always)]
    pub(super) fn prefetch_ahead(
        &self,
        segment: &Segment,
        group: usize,
        start: usize,
        next: &Segment,
    ) {
        if group == 0 {
            self.prefetch(segment, 0, start + AHEAD * STEP);
        }
        if group + 1 < segment.len.div_ceil(GROUP) {
            self.prefetch(segment, group + 1, start);
        } else {
            self.prefetch(next, 0, start);
        }
    }

    #[inline(always)]
    fn prefetch(&self, segment: &Segment, group: usize, start: usize) {
        let first = segment.offset + group * segment.group_bytes();
        let rows = self.bytes.get((self.first + start) * self.row_bytes..);
        let rows = rows.unwrap_or_default().chunks_exact(self.row_bytes.max(1));
        for row in rows.take(STEP) {
            if let Some(bytes) = row.get(first..) {
                prefetch(bytes);
            }
        }
    }
}

/// Steps between prefetching a row and its use.
const AHEAD: usize = 3;

/// Prefetches the first byte, where there is an instruction for it.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "prefetching takes a pointer")
)]
#[inline(always)]
fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has SSE, and nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

for_each_isa! {
    /// Reads group `group` of the rows from `start` on, as many as there are.
    pub fn stage_codes(rows: &Rows<'_>, segment: &Segment, group: usize, start: usize, out: &mut CodeRows) {
        let grid_at = segment.code_bytes();
        let mut scales = [0; STEP];
        let mut mins = [0; STEP];
        let staged = out.codes.iter_mut().zip(scales.iter_mut().zip(&mut mins));
        for (row, (codes, (scale, min))) in rows.segments(segment, start).zip(staged) {
            if segment.format == SegmentFormat::Q4 {
                let (packed, grid) = q4_group(row, grid_at, group);
                *codes = unpack(*packed);
                (*scale, *min) = grid;
            } else {
                let (signed, bits) = q8_group(row, grid_at, group);
                *codes = flip(*signed);
                *scale = bits;
            }
        }
        for i in 0..STEP {
            out.scales[i] = widen_f16(scales[i]);
            out.mins[i] = widen_f16(mins[i]);
        }
    }
}

for_each_isa! {
    /// As [`stage_codes`], as numbers.
    pub fn stage_numbers(rows: &Rows<'_>, segment: &Segment, group: usize, start: usize, out: &mut NumberRows) {
        let grid_at = segment.code_bytes();
        let rows = rows.segments(segment, start).zip(out);
        match segment.format {
            SegmentFormat::F32 => {
                for (row, out) in rows {
                    read_plain(row.as_chunks::<4>().0, group, out, f32::from_le_bytes);
                }
            }
            SegmentFormat::F16 => {
                for (row, out) in rows {
                    read_plain(
                        row.as_chunks::<2>().0,
                        group,
                        out,
                        #[inline(always)]
                        |bytes| widen_f16(u16::from_le_bytes(bytes)),
                    );
                }
            }
            SegmentFormat::Q8 => {
                for (row, out) in rows {
                    let (codes, scale) = q8_group(row, grid_at, group);
                    *out = widen_q8(*codes, widen_f16(scale));
                }
            }
            SegmentFormat::Q4 => {
                for (row, out) in rows {
                    let (packed, (scale, min)) = q4_group(row, grid_at, group);
                    *out = widen_q4(*packed, widen_f16(scale), widen_f16(min));
                }
            }
        }
    }
}

// These take and return arrays by value: compilers then know that they do not
// overlap, and work on whole registers.

#[inline(always)]
fn widen_q8(codes: [u8; GROUP], scale: f32) -> [f32; GROUP] {
    let mut numbers = [0.0; GROUP];
    for i in 0..GROUP {
        numbers[i] = scale * f32::from(codes[i].cast_signed());
    }
    numbers
}

#[inline(always)]
fn widen_q4(packed: [u8; GROUP / 2], scale: f32, min: f32) -> [f32; GROUP] {
    let codes = unpack(packed);
    let mut numbers = [0.0; GROUP];
    for i in 0..GROUP {
        numbers[i] = scale * f32::from(codes[i]) + min;
    }
    numbers
}

#[inline(always)]
fn unpack(packed: [u8; GROUP / 2]) -> [u8; GROUP] {
    let mut codes = [0; GROUP];
    for i in 0..GROUP / 2 {
        codes[i] = packed[i] & 15;
        codes[i + GROUP / 2] = packed[i] >> 4;
    }
    codes
}

/// Signed codes, counted from -128.
#[inline(always)]
fn flip(codes: [u8; GROUP]) -> [u8; GROUP] {
    let mut flipped = [0; GROUP];
    for i in 0..GROUP {
        flipped[i] = codes[i] ^ 0x80;
    }
    flipped
}

/// Codes and the bits of their scale; zeros past the end of the segment.
#[inline(always)]
fn q8_group(segment: &[u8], grid_at: usize, group: usize) -> (&[u8; GROUP], u16) {
    let grid = grid_at + 2 * group;
    let bits = segment.get(grid..grid + 2);
    let codes = segment.get(group * GROUP..).and_then(<[u8]>::first_chunk);
    match (codes, bits) {
        (Some(codes), Some(bits)) => (codes, u16::from_le_bytes([bits[0], bits[1]])),
        _ => (&[0; GROUP], 0),
    }
}

/// Packed codes and the bits of their scale and minimum.
#[inline(always)]
fn q4_group(segment: &[u8], grid_at: usize, group: usize) -> (&[u8; GROUP / 2], (u16, u16)) {
    let grid = grid_at + 4 * group;
    let bits = segment.get(grid..grid + 4);
    let codes = segment
        .get(group * GROUP / 2..)
        .and_then(<[u8]>::first_chunk);
    match (codes, bits) {
        (Some(codes), Some(bits)) => (
            codes,
            (
                u16::from_le_bytes([bits[0], bits[1]]),
                u16::from_le_bytes([bits[2], bits[3]]),
            ),
        ),
        _ => (&[0; GROUP / 2], (0, 0)),
    }
}

/// One group of a row of plain numbers; zeros past its end.
#[inline(always)]
fn read_plain<const N: usize>(
    row: &[[u8; N]],
    group: usize,
    out: &mut [f32; GROUP],
    widen: impl Fn([u8; N]) -> f32,
) {
    let (whole, rest) = row.as_chunks::<GROUP>();
    if let Some(row) = whole.get(group) {
        for i in 0..GROUP {
            out[i] = widen(row[i]);
        }
        return;
    }
    *out = [0.0; GROUP];
    for (out, bytes) in out.iter_mut().zip(rest) {
        *out = widen(*bytes);
    }
}
