//! Numbers into a cached row: writes what `rows` reads.

use half::f16;

use crate::cut;
use crate::kernels::Isa;
use crate::kernels::affine::quantize_affine;
use crate::kernels::quantize::quantize_group;
use crate::kv::Segment;
use crate::math::to_f16;
use crate::quant::{GROUP, SegmentFormat};

impl Segment {
    /// Stores `values` in the segment's place in `row`.
    pub fn store(&self, isa: Isa, values: &[f32], row: &mut [u8]) {
        let bytes = cut::part_mut(row, self.offset, self.bytes());
        match self.format {
            SegmentFormat::F32 => {
                for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *bytes = value.to_le_bytes();
                }
            }
            SegmentFormat::F16 => {
                for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *bytes = to_f16(*value).to_le_bytes();
                }
            }
            SegmentFormat::Q8 => {
                let (codes, scales) = cut::split_mut(bytes, self.code_bytes());
                let codes = codes.as_chunks_mut().0.iter_mut();
                let scales = scales.as_chunks_mut().0;
                for ((codes, scale), values) in codes.zip(scales).zip(values.chunks(GROUP)) {
                    *scale = store_q8(&padded(values), codes).to_le_bytes();
                }
            }
            SegmentFormat::Q4 => {
                let (codes, grids) = cut::split_mut(bytes, self.code_bytes());
                let codes = codes.as_chunks_mut().0.iter_mut();
                let grids = grids.as_chunks_mut::<4>().0;
                for ((codes, grid), values) in codes.zip(grids).zip(values.chunks(GROUP)) {
                    let (scale, min) = store_q4(isa, &padded(values), codes);
                    let ([a, b], [c, d]) = (scale.to_le_bytes(), min.to_le_bytes());
                    *grid = [a, b, c, d];
                }
            }
        }
    }
}

/// A group with zeros in the place of missing numbers.
fn padded(values: &[f32]) -> [f32; GROUP] {
    let mut group = [0.0; GROUP];
    for (number, value) in group.iter_mut().zip(values) {
        *number = *value;
    }
    group
}

/// Quantises a group; returns its scale.
fn store_q8(values: &[f32; GROUP], codes: &mut [u8; GROUP]) -> f16 {
    let mut signed = [0; GROUP];
    let (scale, _) = quantize_group(values, &mut signed);
    *codes = signed.map(i8::cast_unsigned);
    to_f16(scale)
}

/// Quantises a group; returns its scale and minimum.
fn store_q4(isa: Isa, values: &[f32; GROUP], codes: &mut [u8; GROUP / 2]) -> (f16, f16) {
    let mut levels = [0; GROUP];
    let grid = quantize_affine(isa, values, &mut levels);
    let (low, high) = levels.split_at(GROUP / 2);
    for ((code, low), high) in codes.iter_mut().zip(low).zip(high) {
        *code = low | high << 4;
    }
    grid
}
