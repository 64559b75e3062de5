//! A random matrix times random vectors, in static memory.

use briquette_engine::kernels::quantize::quantize;
use briquette_engine::kernels::{Inputs, linear};
use briquette_engine::quant::{GROUP, LANES, Matrix, NumberFormat};
use briquette_engine::{Aligned, Isa};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro128PlusPlus;
use static_cell::ConstStaticCell;

/// Columns of all tokens together.
const COLS: usize = 1152;

/// A matrix and some tokens' vectors.
pub struct Product {
    blocks: Aligned<[u8; 576 / LANES * (576 / GROUP) * 544]>,
    codes: Aligned<[i8; COLS]>,
    scales: [f32; COLS / GROUP],
    sums: [i32; COLS / GROUP],
    out: [f32; 576],
    format: NumberFormat,
    rows: usize,
    cols: usize,
    tokens: usize,
}

static PRODUCT: ConstStaticCell<Product> = ConstStaticCell::new(Product {
    blocks: Aligned([0; _]),
    codes: Aligned([0; _]),
    scales: [0.0; _],
    sums: [0; _],
    out: [0.0; _],
    format: NumberFormat::Q8,
    rows: 0,
    cols: 0,
    tokens: 0,
});

impl Product {
    /// The only one.
    pub fn take() -> &'static mut Self {
        PRODUCT.take()
    }

    /// Random numbers, the same for the same `seed`. Scales are of all
    /// magnitudes, subnormal halves included, and vectors of all that occur.
    pub fn fill(
        &mut self,
        format: NumberFormat,
        rows: usize,
        cols: usize,
        tokens: usize,
        seed: u64,
    ) {
        (self.format, self.rows, self.cols, self.tokens) = (format, rows, cols, tokens);
        let mut noise = Xoshiro128PlusPlus::seed_from_u64(seed);
        let halves = match format {
            NumberFormat::Q4Affine => 2 * LANES,
            _ => LANES,
        };
        for block in self.blocks.0.chunks_mut(format.block_bytes()) {
            noise.fill_bytes(block);
            for half in block.as_chunks_mut::<2>().0.iter_mut().take(halves) {
                // Below 2, so neither infinite nor not a number.
                half[1] &= 0xbf;
            }
        }
        for group in 0..tokens * cols / GROUP {
            let magnitude = f32::from_bits((noise.next_u32() % 140 + 10) << 23);
            let values: [f32; GROUP] =
                core::array::from_fn(|_| noise.next_u32().cast_signed() as f32 * magnitude);
            quantize(
                Isa::PORTABLE,
                &values,
                &mut self.codes.0[group * GROUP..(group + 1) * GROUP],
                &mut self.scales[group..=group],
                &mut self.sums[group..=group],
            );
        }
    }

    /// Multiplies.
    pub fn run(&mut self, isa: Isa) {
        let inputs = Inputs {
            values: &[],
            codes: &self.codes.0,
            scales: &self.scales,
            sums: &self.sums,
            stride: self.cols,
            offset: 0,
            picked: None,
            count: self.tokens,
        };
        let bytes = self.format.matrix_bytes(self.rows as u32, self.cols as u32);
        let bytes = &self.blocks.0[..bytes as usize];
        let matrix = Matrix::new(self.format, self.rows as u32, self.cols as u32, bytes);
        let matrix = matrix.expect("it has just these bytes");
        let out = &mut self.out[..self.rows * self.tokens];
        linear(isa, &matrix, 0, &inputs, out);
    }

    /// Multiplies; the result's bits as one number.
    pub fn digest(&mut self, isa: Isa) -> u64 {
        self.out.fill(f32::NAN);
        self.run(isa);
        // FNV-1a.
        self.out
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |digest, value| {
                (digest ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3)
            })
    }
}
