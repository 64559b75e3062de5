//! Matrix times vectors, one block row (16 outputs) at a time.

use super::isa::Kind;
use super::{Isa, portable};
use crate::quant::{GROUP, LANES, NumberFormat};

/// Input vectors of a matrix product, some or all of the tokens of a batch.
///
/// Integer weights use `codes`, `scales` and `sums`, the others `values`. All
/// tokens stand one after the other, `stride` columns each.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// `[tokens, stride]` numbers; zeros past the end of a row.
    pub values: &'a [f32],
    /// `[tokens, stride]` codes.
    pub codes: &'a [i8],
    /// `[tokens, stride / 32]` scales.
    pub scales: &'a [f32],
    /// `[tokens, stride / 32]` sums of codes.
    pub sums: &'a [i32],
    /// Columns from one token to the next: a multiple of 32.
    pub stride: usize,
    /// First column used: a multiple of 32.
    pub offset: usize,
    /// Which tokens, or all of the first `count`.
    pub picked: Option<&'a [u32]>,
    /// How many tokens.
    pub count: usize,
}

/// One token's input.
#[derive(Debug, Clone, Copy, Default)]
pub struct Input<'a> {
    pub(super) values: &'a [f32],
    pub(super) codes: &'a [[i8; GROUP]],
    pub(super) scales: &'a [f32],
    pub(super) sums: &'a [i32],
}

#[cfg(target_arch = "x86_64")]
impl Input<'_> {
    /// A group's codes, four to a word; zeros past the end.
    #[inline]
    pub(super) fn quads(&self, group: usize) -> [i32; GROUP / 4] {
        let codes = self.codes.get(group);
        codes.map_or([0; GROUP / 4], |codes| bytemuck::cast(*codes))
    }

    /// A group's scale and sum of codes; zeros past the end.
    #[inline]
    pub(super) fn group(&self, group: usize) -> (f32, i32) {
        match (self.scales.get(group), self.sums.get(group)) {
            (Some(scale), Some(sum)) => (*scale, *sum),
            _ => (0.0, 0),
        }
    }
}

impl<'a> Inputs<'a> {
    /// The input of the `index`-th of the tokens, `groups` groups wide.
    /// Anything out of range reads as an empty input.
    fn token(&self, index: usize, groups: usize) -> Input<'a> {
        let token = match self.picked {
            Some(picked) => picked
                .get(index)
                .map_or(usize::MAX, |token| *token as usize),
            None => index,
        };
        let start = token
            .saturating_mul(self.stride)
            .saturating_add(self.offset);
        let (first, end) = (start / GROUP, (start / GROUP).saturating_add(groups));
        Input {
            values: self
                .values
                .get(start..end.saturating_mul(GROUP))
                .unwrap_or_default(),
            codes: self.codes.as_chunks().0.get(first..end).unwrap_or_default(),
            scales: self.scales.get(first..end).unwrap_or_default(),
            sums: self.sums.get(first..end).unwrap_or_default(),
        }
    }
}

/// Tokens that the kernels work on at a time.
const TILE: usize = 4;

/// Computes 16 outputs for each token: `out` is `[tokens, 16]`.
///
/// `blocks` is one block row: as many blocks as the inputs have groups.
pub fn linear_block_row(
    isa: Isa,
    format: NumberFormat,
    blocks: &[u8],
    inputs: &Inputs<'_>,
    out: &mut [f32],
) {
    let groups = blocks.len() / format.block_bytes();
    let out = out.as_chunks_mut::<LANES>().0;
    let mut token = 0;
    for tile in out.chunks_mut(TILE) {
        match tile {
            [a, b, c, d] => {
                let inputs = core::array::from_fn(|i| inputs.token(token + i, groups));
                [*a, *b, *c, *d] = run::<4>(isa, format, blocks, &inputs);
            }
            rest => {
                for (i, out) in rest.iter_mut().enumerate() {
                    let input = [inputs.token(token + i, groups)];
                    [*out] = run::<1>(isa, format, blocks, &input);
                }
            }
        }
        token += TILE;
    }
}

fn run<const T: usize>(
    isa: Isa,
    format: NumberFormat,
    blocks: &[u8],
    x: &[Input<'_>; T],
) -> [[f32; LANES]; T] {
    match format {
        NumberFormat::F32 => portable::f32_rows(isa, blocks, x),
        NumberFormat::F16 => portable::f16_rows(isa, blocks, x),
        NumberFormat::Q8 => match isa.0 {
            Kind::Portable => portable::q8_rows(blocks, x),
            // SAFETY: an `Isa` of this kind exists only if detection found
            // the features that the function is compiled for.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { super::avx2::q8_rows(blocks, x) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => unsafe { super::avx512::q8_rows(blocks, x) },
        },
        NumberFormat::Q4 => match isa.0 {
            Kind::Portable => portable::q4_rows::<T, 288, false>(blocks, x),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { super::avx2::q4_rows::<T, 288, false>(blocks, x) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => unsafe { super::avx512::q4_rows::<T, 288, false>(blocks, x) },
        },
        NumberFormat::Q4Affine => match isa.0 {
            Kind::Portable => portable::q4_rows::<T, 320, true>(blocks, x),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { super::avx2::q4_rows::<T, 320, true>(blocks, x) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => unsafe { super::avx512::q4_rows::<T, 320, true>(blocks, x) },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::quantize::quantize;

    const COLS: usize = 160;
    const TOKENS: usize = 7;

    /// A small generator of its own, so that expectations depend on nothing.
    struct Noise(u32);

    impl Noise {
        fn next(&mut self) -> u32 {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.0 >> 8
        }

        fn float(&mut self) -> f32 {
            self.next() as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// Random bytes with finite scales.
    fn blocks(format: NumberFormat, out: &mut [u8]) {
        let mut noise = Noise(7);
        for block in out.chunks_mut(format.block_bytes()) {
            block.fill_with(|| (noise.next() & 0xff) as u8);
            let floats = match format {
                NumberFormat::F32 => {
                    for bytes in block.as_chunks_mut::<4>().0 {
                        *bytes = noise.float().to_le_bytes();
                    }
                    0
                }
                NumberFormat::F16 => GROUP * LANES,
                NumberFormat::Q8 | NumberFormat::Q4 => LANES,
                NumberFormat::Q4Affine => 2 * LANES,
            };
            for bytes in block[..2 * floats].as_chunks_mut::<2>().0 {
                *bytes = half::f16::from_f32(noise.float()).to_le_bytes();
            }
        }
    }

    struct Case {
        values: [f32; COLS * TOKENS],
        codes: [i8; COLS * TOKENS],
        scales: [f32; COLS * TOKENS / GROUP],
        sums: [i32; COLS * TOKENS / GROUP],
    }

    impl Case {
        fn new(isa: Isa) -> Self {
            let mut noise = Noise(3);
            let mut case = Self {
                values: core::array::from_fn(|_| noise.float() * 3.0),
                codes: [0; COLS * TOKENS],
                scales: [0.0; COLS * TOKENS / GROUP],
                sums: [0; COLS * TOKENS / GROUP],
            };
            quantize(
                isa,
                &case.values,
                &mut case.codes,
                &mut case.scales,
                &mut case.sums,
            );
            case
        }

        fn inputs(&self) -> Inputs<'_> {
            Inputs {
                values: &self.values,
                codes: &self.codes,
                scales: &self.scales,
                sums: &self.sums,
                stride: COLS,
                offset: 0,
                picked: None,
                count: TOKENS,
            }
        }
    }

    #[test]
    fn every_isa_gives_the_bits_of_the_portable_kernels() {
        for format in NumberFormat::ALL {
            let mut bytes = [0; 5 * 2048];
            let bytes = &mut bytes[..5 * format.block_bytes()];
            blocks(format, bytes);
            let mut expected = [0.0; TOKENS * LANES];
            let portable = Isa::PORTABLE;
            let case = Case::new(portable);
            linear_block_row(portable, format, bytes, &case.inputs(), &mut expected);
            for isa in Isa::available() {
                let case = Case::new(isa);
                let mut out = [0.0; TOKENS * LANES];
                linear_block_row(isa, format, bytes, &case.inputs(), &mut out);
                assert_eq!(
                    out.map(f32::to_bits),
                    expected.map(f32::to_bits),
                    "{format:?} on {}",
                    isa.name()
                );
            }
        }
    }

    /// The result in double precision from decoded blocks: another way to the
    /// same numbers.
    #[test]
    fn kernels_compute_the_product_of_decoded_weights() {
        for format in NumberFormat::ALL {
            let mut bytes = [0; 5 * 2048];
            let bytes = &mut bytes[..5 * format.block_bytes()];
            blocks(format, bytes);
            let matrix = crate::quant::Matrix::new(format, 16, COLS as u32, bytes).unwrap();
            let case = Case::new(Isa::PORTABLE);
            let mut out = [0.0; TOKENS * LANES];
            linear_block_row(Isa::PORTABLE, format, bytes, &case.inputs(), &mut out);
            for token in 0..TOKENS {
                for lane in 0..LANES {
                    let mut row = [0.0; COLS];
                    matrix.decode_row(lane, &mut row);
                    let mut expected = 0.0;
                    for (c, weight) in row.iter().enumerate() {
                        let at = token * COLS + c;
                        let input = if format.is_integer() {
                            f64::from(case.codes[at]) * f64::from(case.scales[at / GROUP])
                        } else {
                            f64::from(case.values[at])
                        };
                        expected += f64::from(*weight) * input;
                    }
                    let error = (f64::from(out[token * LANES + lane]) - expected).abs();
                    assert!(error < 2e-2, "{format:?}: {error}");
                }
            }
        }
    }

    #[test]
    fn picked_tokens_and_column_offsets_are_honoured() {
        let mut bytes = [0; 4 * 544];
        blocks(NumberFormat::Q8, &mut bytes);
        let case = Case::new(Isa::PORTABLE);
        let narrow = Inputs {
            offset: GROUP,
            ..case.inputs()
        };
        let mut all = [0.0; TOKENS * LANES];
        linear_block_row(Isa::PORTABLE, NumberFormat::Q8, &bytes, &narrow, &mut all);
        let picked = Inputs {
            picked: Some(&[6, 2]),
            count: 2,
            ..narrow
        };
        let mut two = [0.0; 2 * LANES];
        linear_block_row(Isa::PORTABLE, NumberFormat::Q8, &bytes, &picked, &mut two);
        assert_eq!(two[..LANES], all[6 * LANES..]);
        assert_eq!(two[LANES..], all[2 * LANES..3 * LANES]);
    }
}
