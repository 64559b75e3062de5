//! What the benchmarks run: one call of a kernel, and the memory that it needs.

use std::hint::black_box;

use briquette_engine::Isa;
use briquette_engine::kernels::attend::{Attend, Query, QueryPart, attend};
use briquette_engine::kernels::quantize::quantize;
use briquette_engine::kernels::{Inputs, linear};
use briquette_engine::kv::Segment;
use briquette_engine::quant::{GROUP, LANES, Matrix, NumberFormat, SegmentFormat};

/// The instruction set of this name.
///
/// # Panics
/// If this processor does not have it.
pub fn isa(name: &str) -> Isa {
    let mut known = Isa::available();
    let found = known.find(|isa| isa.name() == name);
    found.unwrap_or_else(|| panic!("this processor has no {name}"))
}

/// Numbers between -1 and 1 without a pattern.
pub fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.731).sin()).collect()
}

/// `[tokens, columns]` numbers and their codes.
struct Quantized {
    values: Vec<f32>,
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Quantized {
    fn new(count: usize) -> Self {
        let mut new = Self {
            values: numbers(count),
            codes: vec![0; count],
            scales: vec![0.0; count / GROUP],
            sums: vec![0; count / GROUP],
        };
        let (codes, scales) = (&mut new.codes, &mut new.scales);
        quantize(Isa::PORTABLE, &new.values, codes, scales, &mut new.sums);
        new
    }
}

/// A matrix and the vectors that it meets.
pub struct Product {
    isa: Isa,
    format: NumberFormat,
    rows: usize,
    cols: usize,
    tokens: usize,
    weights: Vec<u8>,
    inputs: Quantized,
    out: Vec<f32>,
}

impl Product {
    /// `rows` × `cols` weights times `tokens` vectors.
    pub fn new(isa: Isa, format: NumberFormat, [rows, cols]: [usize; 2], tokens: usize) -> Self {
        let bytes = format.matrix_bytes(rows as u32, cols as u32) as usize;
        Self {
            isa,
            format,
            rows,
            cols,
            tokens,
            // Small numbers, whatever the format.
            weights: vec![0x11; bytes],
            inputs: Quantized::new(cols * tokens),
            out: vec![0.0; rows.next_multiple_of(LANES) * tokens],
        }
    }

    pub fn run(&mut self) {
        let (rows, cols) = (self.rows as u32, self.cols as u32);
        let matrix = Matrix::new(self.format, rows, cols, &self.weights).expect("its bytes");
        let inputs = Inputs {
            values: &self.inputs.values,
            codes: &self.inputs.codes,
            scales: &self.inputs.scales,
            sums: &self.inputs.sums,
            stride: self.cols,
            offset: 0,
            picked: None,
            count: self.tokens,
        };
        linear(self.isa, &matrix, 0, black_box(&inputs), &mut self.out);
        black_box(&self.out);
    }
}

/// Some heads of one token, and the cached rows that they attend to.
pub struct Attention {
    isa: Isa,
    rows: Vec<u8>,
    row_bytes: usize,
    keys: [Segment; 2],
    value: Segment,
    positions: usize,
    queries: Quantized,
    out: Vec<f32>,
}

impl Attention {
    /// Latent attention with ds2-edge's dimensions: 16 heads share a latent of
    /// 256 numbers and a rotated key of 32.
    pub fn latent(isa: Isa, format: SegmentFormat, positions: usize) -> Self {
        let latent = segment(format, 0, 256);
        let rotated = segment(SegmentFormat::F16, latent.bytes(), 32);
        Self::new(isa, [latent, rotated], latent, 16, positions)
    }

    /// Grouped-query attention with SmolLM2's dimensions: three heads share a
    /// key and a value of 64 numbers.
    pub fn grouped(isa: Isa, format: SegmentFormat, positions: usize) -> Self {
        let key = segment(format, 0, 64);
        let value = segment(format, key.bytes(), 64);
        let nothing = segment(format, 0, 0);
        Self::new(isa, [key, nothing], value, 3, positions)
    }

    fn new(isa: Isa, keys: [Segment; 2], value: Segment, heads: usize, positions: usize) -> Self {
        let segments = [keys[0], keys[1], value];
        let ends = segments.map(|segment| segment.offset + segment.bytes());
        let row_bytes = ends.into_iter().max().unwrap_or(0);
        let mut rows = vec![0; positions * row_bytes];
        for row in rows.chunks_exact_mut(row_bytes) {
            for segment in segments {
                segment.store(Isa::PORTABLE, &numbers(segment.len), row);
            }
        }
        Self {
            isa,
            rows,
            row_bytes,
            keys,
            value,
            positions,
            queries: Quantized::new(keys[0].len),
            out: vec![0.0; heads * value.len],
        }
    }

    pub fn run(&mut self) {
        let task = Attend {
            rows: &self.rows,
            row_bytes: self.row_bytes,
            keys: self.keys,
            value: self.value,
            scale: 0.125,
        };
        let part = |key: &Segment| QueryPart {
            values: &self.queries.values[..key.len],
            codes: &self.queries.codes,
            scales: &self.queries.scales,
        };
        let query = Query {
            parts: self.keys.each_ref().map(part),
            first: 0,
            last: self.positions - 1,
        };
        attend(self.isa, black_box(&task), |_| query, &mut self.out);
        black_box(&self.out);
    }
}

fn segment(format: SegmentFormat, offset: usize, len: usize) -> Segment {
    Segment {
        format,
        offset,
        len,
    }
}
