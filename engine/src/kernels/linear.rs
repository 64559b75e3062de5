//! Matrix times vectors: which kernel, and how many tokens at a time.

#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(
        unsafe_code,
        reason = "calls kernels of an instruction set, which an `Isa` proves to be there"
    )
)]

use super::Isa;
use super::tile::{Inputs, Panels};
#[cfg(not(dsp))]
use super::{isa::Kind, portable};
use crate::quant::{LANES, Matrix, NumberFormat};

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
        let out = Panels::new(out, self.inputs.count, self.token);
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
            Kind::Avx2 => unsafe { super::x86::avx2::rows(format, blocks, len, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => unsafe { super::x86::avx_vnni::rows(format, blocks, len, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => unsafe { super::x86::avx512::rows(format, blocks, len, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot => unsafe { super::aarch64::neon::rows(format, blocks, len, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::NeonI8mm => unsafe {
                super::aarch64::neon_i8mm::rows(format, blocks, len, x, out)
            },
        }
        T
    }
}
