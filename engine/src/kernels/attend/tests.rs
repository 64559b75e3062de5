//! Attention on every instruction set, alone, in company and chunk by chunk.

use super::*;
use crate::kernels::quantize::quantize;
use crate::kv::Segment;
use crate::quant::{GROUP, SegmentFormat};

/// Not a multiple of 32: the last group is padded.
const LATENT: usize = 72;
const ROTATED: usize = 10;
const ROWS: usize = 300;
const QUERIES: usize = 19;
const PADDED: usize = LATENT.next_multiple_of(GROUP);
const SCALE: f32 = 0.3;

fn number(i: usize) -> f32 {
    libm::sinf(i as f32 * 0.731) * 1.5
}

/// Rows of a latent and a rotated key, as MLA has them; a row is made of waves.
struct Case {
    bytes: [u8; ROWS * (LATENT + ROTATED) * 4],
    row_bytes: usize,
    keys: [Segment; 2],
    values: [[f32; LATENT + ROTATED]; QUERIES],
    codes: [[i8; PADDED]; QUERIES],
    scales: [[f32; PADDED / GROUP]; QUERIES],
}

impl Case {
    fn new(format: SegmentFormat) -> Self {
        let latent = Segment {
            format,
            offset: 0,
            len: LATENT,
        };
        let plain = match format {
            SegmentFormat::F32 => SegmentFormat::F32,
            _ => SegmentFormat::F16,
        };
        let rotated = Segment {
            format: plain,
            offset: latent.bytes(),
            len: ROTATED,
        };
        let row_bytes = latent.bytes() + rotated.bytes();
        let mut case = Self {
            bytes: [0; ROWS * (LATENT + ROTATED) * 4],
            row_bytes,
            keys: [latent, rotated],
            values: core::array::from_fn(|q| core::array::from_fn(|i| number(i * i + 5 + 7 * q))),
            codes: [[0; PADDED]; QUERIES],
            scales: [[0.0; PADDED / GROUP]; QUERIES],
        };
        for (r, row) in case.bytes.chunks_mut(row_bytes).take(ROWS).enumerate() {
            let row_values = Self::row(r);
            latent.store(Isa::PORTABLE, &row_values[..LATENT], row);
            rotated.store(Isa::PORTABLE, &row_values[LATENT..], row);
        }
        for q in 0..QUERIES {
            let mut padded = [0.0; PADDED];
            padded[..LATENT].copy_from_slice(&case.values[q][..LATENT]);
            let (codes, scales) = (&mut case.codes[q], &mut case.scales[q]);
            quantize(
                Isa::PORTABLE,
                &padded,
                codes,
                scales,
                &mut [0; PADDED / GROUP],
            );
        }
        case
    }

    fn row(r: usize) -> [f32; LATENT + ROTATED] {
        core::array::from_fn(|i| number(r * (LATENT + ROTATED) + i))
    }

    fn task(&self) -> Attend<'_> {
        Attend {
            rows: &self.bytes[..ROWS * self.row_bytes],
            row_bytes: self.row_bytes,
            keys: self.keys,
            value: self.keys[0],
            scale: SCALE,
        }
    }

    /// Query `q` sees the rows that [`seen`] says.
    fn query(&self, q: usize) -> Query<'_> {
        let (first, last) = seen(q);
        let latent = QueryPart {
            values: &self.values[q][..LATENT],
            codes: &self.codes[q],
            scales: &self.scales[q],
        };
        let rotated = QueryPart {
            values: &self.values[q][LATENT..],
            ..QueryPart::default()
        };
        Query {
            parts: [latent, rotated],
            first,
            last,
        }
    }
}

/// Windows that start and end inside chunks, at their ends, and in others.
fn seen(q: usize) -> (usize, usize) {
    match q {
        0 => (0, 0),
        1 => (0, CHUNK - 1),
        2 => (CHUNK, CHUNK),
        3 => (3, ROWS - 1),
        4 => (2 * CHUNK + 5, ROWS - 1),
        _ => (q, ROWS - 1 - 11 * q),
    }
}

/// Softmax attention in double precision on the numbers before rounding.
fn expected(case: &Case, q: usize) -> [f64; LATENT] {
    let (first, last) = seen(q);
    let (mut sum, mut out) = (0.0, [0.0; LATENT]);
    for r in first..=last {
        let row = Case::row(r);
        let dot: f64 = case.values[q]
            .iter()
            .zip(row)
            .map(|(a, b)| f64::from(*a) * f64::from(b))
            .sum();
        let weight = libm::exp(dot * f64::from(SCALE));
        sum += weight;
        for (out, value) in out.iter_mut().zip(row) {
            *out += weight * f64::from(value);
        }
    }
    out.map(|value| value / sum)
}

fn check(format: SegmentFormat, tolerance: f64) {
    let case = Case::new(format);
    let mut first_bits = None;
    for isa in Isa::available() {
        let mut out = [0.0; QUERIES * LATENT];
        attend(isa, &case.task(), |q| case.query(q), &mut out);
        for (q, out) in out.chunks(LATENT).enumerate() {
            for (value, expected) in out.iter().zip(expected(&case, q)) {
                let error = (f64::from(*value) - expected).abs();
                assert!(error < tolerance, "{format:?}, query {q}: {error}");
            }
        }
        let bits = out.map(f32::to_bits);
        let reference = *first_bits.get_or_insert(bits);
        assert!(bits == reference, "{format:?} on {}", isa.name());
    }
}

#[test]
fn attention_is_the_weighted_mean_of_the_values() {
    check(SegmentFormat::F32, 2e-5);
    check(SegmentFormat::F16, 2e-2);
    check(SegmentFormat::Q8, 2e-1);
    check(SegmentFormat::Q4, 1.5);
}

/// Alone, in company, and chunk by chunk.
#[test]
fn company_and_chunks_change_no_bits() {
    for format in [
        SegmentFormat::F32,
        SegmentFormat::F16,
        SegmentFormat::Q8,
        SegmentFormat::Q4,
    ] {
        let case = Case::new(format);
        for isa in Isa::available() {
            let mut together = [0.0; QUERIES * LATENT];
            attend(isa, &case.task(), |q| case.query(q), &mut together);
            let mut alone = [0.0; QUERIES * LATENT];
            for (q, out) in alone.chunks_mut(LATENT).enumerate() {
                attend(isa, &case.task(), |_| case.query(q), out);
            }
            assert!(
                alone.map(f32::to_bits) == together.map(f32::to_bits),
                "{format:?}"
            );

            let mut folded = [0.0; QUERIES * LATENT];
            let mut totals = [Total::NONE; QUERIES];
            for chunk in 0..ROWS.div_ceil(CHUNK) {
                let (mut out, mut part) = ([9.0; QUERIES * LATENT], [Total::NONE; QUERIES]);
                attend_chunk(
                    isa,
                    &case.task(),
                    |q| case.query(q),
                    chunk,
                    &mut out,
                    &mut part,
                );
                let sums = folded.chunks_mut(LATENT).zip(&mut totals);
                for ((sum, total), (out, part)) in sums.zip(out.chunks(LATENT).zip(part)) {
                    fold(sum, total, out, part);
                }
            }
            for (sum, total) in folded.chunks_mut(LATENT).zip(totals) {
                finish(sum, total);
            }
            assert!(
                folded.map(f32::to_bits) == together.map(f32::to_bits),
                "{format:?}"
            );
        }
    }
}
