//! ggml's block formats, widened to `f32` in ggml's own order of operations.

use half::{bf16, f16};

use crate::checkpoint::Grid;

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "ggml's names")]
pub(super) enum Encoding {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
    BF16,
}

/// Numbers that share one of ggml's "K" blocks.
const SUPER: usize = 256;

impl Encoding {
    /// What error messages list.
    pub(super) const SUPPORTED: &str =
        "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K";

    pub(super) const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            12 => Self::Q4_K,
            13 => Self::Q5_K,
            14 => Self::Q6_K,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// The name of a type that we do not read.
    pub(super) fn name_of(code: u32) -> String {
        let name = match code {
            9 => "Q8_1",
            10 => "Q2_K",
            11 => "Q3_K",
            15 => "Q8_K",
            16 => "IQ2_XXS",
            17 => "IQ2_XS",
            18 => "IQ3_XXS",
            19 => "IQ1_S",
            20 => "IQ4_NL",
            21 => "IQ3_S",
            22 => "IQ2_S",
            23 => "IQ4_XS",
            24 => "I8",
            25 => "I16",
            26 => "I32",
            27 => "I64",
            28 => "F64",
            29 => "IQ1_M",
            34 => "TQ1_0",
            35 => "TQ2_0",
            39 => "MXFP4",
            other => return format!("number {other}"),
        };
        name.to_owned()
    }

    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    /// Numbers in a block.
    pub(super) const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => SUPER,
        }
    }

    /// Bytes of a block.
    pub(super) const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 2 + 16,
            Self::Q4_1 => 4 + 16,
            Self::Q5_0 => 2 + 4 + 16,
            Self::Q5_1 => 4 + 4 + 16,
            Self::Q8_0 => 2 + 32,
            Self::Q4_K => 4 + 12 + 128,
            Self::Q5_K => 4 + 12 + 32 + 128,
            Self::Q6_K => 128 + 64 + 16 + 2,
        }
    }

    /// Widens whole blocks; appends to `values`, and to `grids` what the
    /// packer may keep.
    pub(super) fn decode(self, bytes: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
        for block in bytes.chunks_exact(self.block_bytes()) {
            match self {
                Self::F32 => {
                    values.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]))
                }
                Self::F16 => values.push(half(block, 0)),
                Self::BF16 => values.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
                Self::Q4_0 => decode_q4_0(block, values, grids),
                Self::Q4_1 => decode_q4_1(block, values, grids),
                Self::Q5_0 => decode_q5(block, 2, values),
                Self::Q5_1 => decode_q5(block, 4, values),
                Self::Q8_0 => decode_q8_0(block, values, grids),
                Self::Q4_K => decode_q4_k(block, values, grids),
                Self::Q5_K => decode_q5_k(block, values),
                Self::Q6_K => decode_q6_k(block, values),
            }
        }
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16_at(bytes, at).to_f32()
}

fn f16_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn decode_q4_0(block: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
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

fn decode_q4_1(block: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
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
fn decode_q5(block: &[u8], high_at: usize, values: &mut Vec<f32>) {
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

fn decode_q8_0(block: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
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

fn decode_q4_k(block: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
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

fn decode_q5_k(block: &[u8], values: &mut Vec<f32>) {
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

fn decode_q6_k(block: &[u8], values: &mut Vec<f32>) {
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
