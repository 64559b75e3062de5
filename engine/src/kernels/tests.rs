//! Matrix products on every instruction set.

use super::quantize::quantize;
use super::{Inputs, Isa, linear};
use crate::quant::{GROUP, LANES, Matrix, NumberFormat};

const COLS: usize = 160;
/// Three block rows.
const ROWS: usize = 3 * LANES;
/// One tile of each size.
const TOKENS: usize = 8 + 4 + 2 + 1;
/// Bytes of the largest matrix.
const MOST_BYTES: usize = 3 * 5 * NumberFormat::F32.block_bytes();

/// A small generator, so that expectations depend on no crate.
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
    let mut bytes = [0; 4 * 3 * NumberFormat::Q8.block_bytes()];
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
