//! Matrix times vectors: which kernel, and how many tokens at a time.

use super::Isa;
#[cfg(not(dsp))]
use super::{isa::Kind, portable};
use crate::quant::{GROUP, LANES, Matrix, NumberFormat};

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

/// The inputs of `T` tokens that a kernel takes at a time: of codes, scales and
/// sums as many groups each.
pub(super) struct Tile<'a, const T: usize> {
    values: &'a [[f32; GROUP]],
    codes: &'a [[i8; GROUP]],
    scales: &'a [f32],
    sums: &'a [i32],
    /// Where each token's groups start.
    starts: [usize; T],
}

/// The groups of one token's row: as many of each.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Groups<'a> {
    pub(super) codes: &'a [[i8; GROUP]],
    pub(super) scales: &'a [f32],
    pub(super) sums: &'a [i32],
}

#[cfg(target_arch = "x86_64")]
impl<'a, const T: usize> Tile<'a, T> {
    /// Each token's first `count` groups; `None` if any is not there. In a loop
    /// over `count` blocks the compiler knows that each index is inside.
    #[inline(always)]
    pub(super) fn groups(&self, count: usize) -> Option<[Groups<'a>; T]> {
        let mut tokens = [Groups {
            codes: &[],
            scales: &[],
            sums: &[],
        }; T];
        for (token, start) in tokens.iter_mut().zip(self.starts) {
            let range = start..start.checked_add(count)?;
            *token = Groups {
                codes: self.codes.get(range.clone())?,
                scales: self.scales.get(range.clone())?,
                sums: self.sums.get(range)?,
            };
        }
        Some(tokens)
    }
}

impl<const T: usize> Tile<'_, T> {
    /// Codes, scale and sum of codes of token `t`'s group `g`; nothing past
    /// the end.
    #[inline(always)]
    pub(super) fn group(&self, t: usize, g: usize) -> Option<(&[i8; GROUP], f32, i32)> {
        let at = self.starts[t] + g;
        match (self.codes.get(at), self.scales.get(at), self.sums.get(at)) {
            (Some(codes), Some(scale), Some(sum)) => Some((codes, *scale, *sum)),
            _ => None,
        }
    }

    /// All of token `t`'s codes, scales and sums, and what follows them.
    #[cfg(dsp)]
    pub(super) fn from(&self, t: usize) -> (&[[i8; GROUP]], &[f32], &[i32]) {
        let start = self.starts.get(t).copied().unwrap_or(usize::MAX);
        (
            self.codes.get(start..).unwrap_or_default(),
            self.scales.get(start..).unwrap_or_default(),
            self.sums.get(start..).unwrap_or_default(),
        )
    }

    /// The numbers of token `t`'s group `g`; nothing past the end.
    #[inline(always)]
    pub(super) fn values(&self, t: usize, g: usize) -> Option<&[f32; GROUP]> {
        self.values.get(self.starts[t] + g)
    }
}

/// Where the results of a tile go: one panel of `[tokens, 16]` a block row.
pub(super) struct Panels<'a> {
    data: &'a mut [f32],
    /// Numbers of a panel.
    stride: usize,
    /// The tile's first token.
    first: usize,
}

impl<'a> Panels<'a> {
    /// Each block row of `len` bytes with the results of its `T` tokens.
    #[inline(always)]
    pub(super) fn rows<'b, const T: usize>(
        self,
        blocks: &'b [u8],
        len: usize,
    ) -> impl Iterator<Item = (&'b [u8], &'a mut [[f32; LANES]; T])> {
        let first = self.first;
        let panels = self.data.chunks_exact_mut(self.stride.max(1));
        let rows = blocks.chunks_exact(len.max(1)).zip(panels);
        rows.filter_map(move |(row, panel)| {
            let tokens = panel.as_chunks_mut::<LANES>().0.get_mut(first..)?;
            Some((row, tokens.first_chunk_mut::<T>()?))
        })
    }
}

/// Block rows that all tokens of a batch go through before the next ones:
/// these weights stay in the second-level cache.
const BLOCK_ROWS: usize = 16;

/// Multiplies the block rows of `matrix` from `first` on, as many as `out` has
/// room for: `out` is `[block rows, tokens, 16]`.
pub fn linear(isa: Isa, matrix: &Matrix<'_>, first: usize, inputs: &Inputs<'_>, out: &mut [f32]) {
    let row_bytes = matrix.groups() * matrix.format().block_bytes();
    let stride = (LANES * inputs.count).max(1);
    let blocks = matrix
        .block_rows_from(first)
        .chunks((BLOCK_ROWS * row_bytes).max(1));
    for (blocks, out) in blocks.zip(out.chunks_mut((BLOCK_ROWS * stride).max(1))) {
        let mut token = 0;
        while token < inputs.count {
            let call = Call {
                isa,
                format: matrix.format(),
                blocks,
                row_bytes,
                inputs,
                token,
            };
            token += match isa.tile(inputs.count - token) {
                8 => call.run::<8>(out),
                4 => call.run::<4>(out),
                2 => call.run::<2>(out),
                _ => call.run::<1>(out),
            };
        }
    }
}

/// Some block rows times some tokens.
struct Call<'a> {
    isa: Isa,
    format: NumberFormat,
    blocks: &'a [u8],
    /// Bytes of a block row.
    row_bytes: usize,
    inputs: &'a Inputs<'a>,
    /// The first token.
    token: usize,
}

impl Call<'_> {
    /// Computes `T` tokens; returns `T`.
    fn run<const T: usize>(&self, out: &mut [f32]) -> usize {
        let x = &self.inputs.tile::<T>(self.token);
        let (format, blocks, len) = (self.format, self.blocks, self.row_bytes);
        let out = Panels {
            data: out,
            stride: LANES * self.inputs.count,
            first: self.token,
        };
        #[cfg(dsp)]
        match super::cortex_m::Kernel::new(self.isa, format, blocks, x) {
            Some(kernel) => kernel.rows(blocks, len, x, out),
            None => super::cortex_m::portable_rows(format, blocks, len, x, out),
        }
        #[cfg(not(dsp))]
        match self.isa.0 {
            Kind::Portable => portable::rows(format, blocks, len, x, out),
            // Those below need all of their inputs.
            #[cfg(target_arch = "x86_64")]
            _ if format.is_integer() && x.groups(len / format.block_bytes()).is_none() => {
                portable::rows(format, blocks, len, x, out);
            }
            // SAFETY: an `Isa` of this kind exists only if detection found
            // the features that the function is compiled for.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { super::avx2::rows(format, blocks, len, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => unsafe { super::avx_vnni::rows(format, blocks, len, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => unsafe { super::avx512::rows(format, blocks, len, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot => unsafe { super::neon::rows(format, blocks, len, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::NeonI8mm => unsafe { super::neon_i8mm::rows(format, blocks, len, x, out) },
        }
        T
    }
}

impl<'a> Inputs<'a> {
    /// The inputs of `T` tokens from the `first`-th on. Anything out of range
    /// reads as an empty input.
    fn tile<const T: usize>(&self, first: usize) -> Tile<'a, T> {
        let groups = self.scales.len().min(self.sums.len());
        let codes = self.codes.as_chunks().0;
        let groups = groups.min(codes.len());
        Tile {
            values: self.values.as_chunks().0,
            codes: &codes[..groups],
            scales: &self.scales[..groups],
            sums: &self.sums[..groups],
            starts: core::array::from_fn(|t| self.start(first + t)),
        }
    }

    /// The first group of the `index`-th of the tokens.
    fn start(&self, index: usize) -> usize {
        let token = match self.picked {
            Some(picked) => picked
                .get(index)
                .map_or(usize::MAX, |token| *token as usize),
            None => index,
        };
        // Half of the largest number: adding a group's index does not wrap.
        let column = token
            .saturating_mul(self.stride)
            .saturating_add(self.offset);
        column.min(usize::MAX / 2) / GROUP
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::quantize::quantize;

    const COLS: usize = 160;
    /// Three block rows.
    const ROWS: usize = 3 * LANES;
    /// One tile of each size.
    const TOKENS: usize = 8 + 4 + 2 + 1;
    /// Bytes of the largest matrix.
    const MOST_BYTES: usize = 3 * 5 * 2048;

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

    fn matrix(format: NumberFormat, bytes: &mut [u8; MOST_BYTES]) -> Matrix<'_> {
        let bytes = &mut bytes[..3 * 5 * format.block_bytes()];
        blocks(format, bytes);
        Matrix::new(format, ROWS as u32, COLS as u32, bytes).unwrap()
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
            let mut bytes = [0; MOST_BYTES];
            let matrix = matrix(format, &mut bytes);
            let mut expected = [0.0; TOKENS * ROWS];
            let portable = Isa::PORTABLE;
            let case = Case::new(portable);
            linear(portable, &matrix, 0, &case.inputs(), &mut expected);
            for isa in Isa::available() {
                let case = Case::new(isa);
                let mut out = [0.0; TOKENS * ROWS];
                linear(isa, &matrix, 0, &case.inputs(), &mut out);
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
            let mut bytes = [0; MOST_BYTES];
            let matrix = matrix(format, &mut bytes);
            let case = Case::new(Isa::PORTABLE);
            let mut out = [0.0; TOKENS * ROWS];
            linear(Isa::PORTABLE, &matrix, 0, &case.inputs(), &mut out);
            for token in 0..TOKENS {
                for index in 0..ROWS {
                    let mut row = [0.0; COLS];
                    matrix.decode_row(index, &mut row);
                    let (panel, lane) = (index / LANES, index % LANES);
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
                    let error =
                        (f64::from(out[(panel * TOKENS + token) * LANES + lane]) - expected).abs();
                    assert!(error < 2e-2, "{format:?}: {error}");
                }
            }
        }
    }

    #[test]
    fn picked_tokens_column_offsets_and_later_rows_are_honoured() {
        let mut bytes = [0; 4 * 3 * 544];
        blocks(NumberFormat::Q8, &mut bytes);
        let (rows, cols) = (ROWS as u32, (COLS - GROUP) as u32);
        let matrix = Matrix::new(NumberFormat::Q8, rows, cols, &bytes).unwrap();
        let case = Case::new(Isa::PORTABLE);
        let narrow = Inputs {
            offset: GROUP,
            ..case.inputs()
        };
        let mut all = [0.0; TOKENS * ROWS];
        linear(Isa::PORTABLE, &matrix, 0, &narrow, &mut all);
        let picked = Inputs {
            picked: Some(&[6, 2]),
            count: 2,
            ..narrow
        };
        let second = &all[TOKENS * LANES..2 * TOKENS * LANES];
        for isa in Isa::available() {
            let mut two = [0.0; 2 * LANES];
            linear(isa, &matrix, 1, &picked, &mut two);
            assert_eq!(two[..LANES], second[6 * LANES..7 * LANES]);
            assert_eq!(two[LANES..], second[2 * LANES..3 * LANES]);
        }
    }

    #[test]
    fn inputs_that_are_not_there_read_as_zeros() {
        for format in NumberFormat::ALL {
            let mut bytes = [0; MOST_BYTES];
            let matrix = matrix(format, &mut bytes);
            let case = Case::new(Isa::PORTABLE);
            let picked = Inputs {
                picked: Some(&[u32::MAX, 0]),
                count: 3,
                ..case.inputs()
            };
            for isa in Isa::available() {
                let mut out = [1.0; 3 * ROWS];
                linear(isa, &matrix, 0, &picked, &mut out);
                for panel in out.chunks(3 * LANES) {
                    assert!(panel[..LANES].iter().all(|v| *v == 0.0), "{format:?}");
                    assert!(panel[2 * LANES..].iter().all(|v| *v == 0.0), "{format:?}");
                }
            }
        }
    }
}
