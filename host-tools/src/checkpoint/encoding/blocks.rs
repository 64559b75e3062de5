//! ggml's block formats, widened to `f32` in ggml's own order of operations.

use half::f16;

use crate::checkpoint::Grid;

fn half(bytes: &[u8], at: usize) -> f32 {
    f16_at(bytes, at).to_f32()
}

fn f16_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn decode_q4_0(block: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
    let d = half(block, 0);
    let codes = &block[2..];
    let low = codes.iter().map(|q| f32::from(q & 15) - 8.0);
    let high = codes.iter().map(|q| f32::from(q >> 4) - 8.0);
    values.extend(low.chain(high).map(|x| x * d));
    grids.push(Grid {
        scale: f16_at(block, 0),
        min: f16::from_f32(-8.0 * d),
        bits: 4,
    });
}

pub(super) fn decode_q4_1(block: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
    let (d, m) = (half(block, 0), half(block, 2));
    let codes = &block[4..];
    let low = codes.iter().map(|q| f32::from(q & 15));
    let high = codes.iter().map(|q| f32::from(q >> 4));
    values.extend(low.chain(high).map(|x| x * d + m));
    grids.push(Grid {
        scale: f16_at(block, 0),
        min: f16_at(block, 2),
        bits: 4,
    });
}

/// `Q5_0` (fifth bits at byte 2, codes around 16) and `Q5_1` (at byte 4, with
/// a minimum).
pub(super) fn decode_q5(block: &[u8], high_at: usize, values: &mut Vec<f32>) {
    let d = half(block, 0);
    let fifth = u32::from_le_bytes([
        block[high_at],
        block[high_at + 1],
        block[high_at + 2],
        block[high_at + 3],
    ]);
    let codes = &block[high_at + 4..];
    let code = |i: usize| {
        let nibble = if i < 16 {
            codes[i] & 15
        } else {
            codes[i - 16] >> 4
        };
        f32::from(nibble | ((fifth >> i & 1) as u8) << 4)
    };
    if high_at == 2 {
        values.extend((0..32).map(|i| (code(i) - 16.0) * d));
    } else {
        let m = half(block, 2);
        values.extend((0..32).map(|i| code(i) * d + m));
    }
}

pub(super) fn decode_q8_0(block: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
    let d = half(block, 0);
    values.extend(block[2..].iter().map(|q| f32::from(q.cast_signed()) * d));
    grids.push(Grid {
        scale: f16_at(block, 0),
        min: f16::from_f32(-128.0 * d),
        bits: 8,
    });
}

/// Six-bit scale and minimum number `j` of a K block.
fn scale_min(j: usize, packed: &[u8]) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (
            (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4,
            (packed[j + 4] >> 4) | (packed[j] >> 6) << 4,
        )
    };
    (scale.into(), min.into())
}

pub(super) fn decode_q4_k(block: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let (scales, codes) = (&block[4..16], &block[16..]);
    for group in 0..8 {
        let (scale, min) = scale_min(group, scales);
        let (step, start) = (d * scale, dmin * min);
        let shift = 4 * (group % 2);
        let codes = &codes[group / 2 * 32..][..32];
        let code = codes.iter().map(|q| f32::from(q >> shift & 15));
        values.extend(code.map(|q| step * q - start));
        grids.push(Grid {
            scale: f16::from_f32(step),
            min: f16::from_f32(-start),
            bits: 4,
        });
    }
}

pub(super) fn decode_q5_k(block: &[u8], values: &mut Vec<f32>) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let (scales, fifth, codes) = (&block[4..16], &block[16..48], &block[48..]);
    for group in 0..8 {
        let (scale, min) = scale_min(group, scales);
        let (step, start) = (d * scale, dmin * min);
        let shift = 4 * (group % 2);
        let codes = &codes[group / 2 * 32..][..32];
        let code = codes
            .iter()
            .zip(fifth)
            .map(|(q, high)| f32::from((q >> shift & 15) | (high >> group & 1) << 4));
        values.extend(code.map(|q| step * q - start));
    }
}

pub(super) fn decode_q6_k(block: &[u8], values: &mut Vec<f32>) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    for half in 0..2 {
        let (low, high) = (&low[64 * half..], &high[32 * half..]);
        let scales = &scales[8 * half..];
        for part in 0..4 {
            for l in 0..32 {
                let nibble = low[l + 32 * (part % 2)] >> (4 * (part / 2)) & 15;
                let code = nibble | (high[l] >> (2 * part) & 3) << 4;
                let scale = f32::from(scales[2 * part + l / 16].cast_signed());
                values.push(d * scale * (f32::from(code) - 32.0));
            }
        }
    }
}
