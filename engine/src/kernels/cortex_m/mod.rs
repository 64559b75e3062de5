//! Matrix kernels of Arm microcontrollers, and how they are called.
//!
//! The kernels are functions in assembly: stable Rust has no intrinsics for
//! these instructions, and no names for the registers. So programs need not be
//! compiled for one core, and for a Cortex-M55 they should not be: loops over
//! `f32` would become Helium instructions, which flush subnormal numbers to
//! zero as no other processor does.

mod dsp;
#[cfg(helium)]
mod helium;
mod job;

use super::isa::Kind;
use super::tile::{Panels, Tile};
use super::{Isa, portable};
use crate::quant::NumberFormat;
use job::{Assembly, Job};

/// A kernel that this core can run, and that can read its operands.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    assembly: Assembly,
    block_bytes: usize,
}

impl Kernel {
    /// The kernel for `blocks` of a format and the tokens of a tile. `None` if
    /// only portable code can take them: there are no kernels for floats, and
    /// the others load whole words, so all must be aligned to 4 bytes.
    #[inline]
    pub(super) fn new<const T: usize>(
        isa: Isa,
        format: NumberFormat,
        blocks: &[u8],
        x: &Tile<'_, T>,
    ) -> Option<Self> {
        let assembly = match isa.0 {
            Kind::Portable => None,
            Kind::Dsp => dsp::kernel(format),
            #[cfg(helium)]
            Kind::Helium => helium::kernel(format),
        }?;
        let codes: *const u32 = x.from(0).0.as_ptr().cast();
        let aligned = codes.is_aligned() && blocks.as_ptr().cast::<u32>().is_aligned();
        aligned.then_some(Self {
            assembly,
            block_bytes: format.block_bytes(),
        })
    }

    /// Block rows of `len` bytes times the tokens of a tile, one token after
    /// the other.
    #[inline]
    #[expect(unsafe_code, reason = "calls a function in assembly")]
    pub(super) fn rows<const T: usize>(
        self,
        blocks: &[u8],
        len: usize,
        x: &Tile<'_, T>,
        out: Panels<'_>,
    ) {
        let groups = len.checked_div(self.block_bytes).unwrap_or_default();
        let mut jobs: [Job; T] = core::array::from_fn(|t| {
            let (codes, scales, sums) = x.from(t);
            Job {
                codes: codes.as_ptr().cast(),
                scales: scales.as_ptr(),
                sums: sums.as_ptr(),
                groups: groups.min(codes.len()),
                blocks: blocks.as_ptr(),
                out: core::ptr::null_mut(),
            }
        });
        for (row, out) in out.rows::<T>(blocks, len) {
            for (job, out) in jobs.iter_mut().zip(out) {
                if job.groups == 0 {
                    *out = [0.0; _];
                    continue;
                }
                job.blocks = row.as_ptr();
                job.out = out.as_mut_ptr();
                // SAFETY: `row` has at least `groups` blocks, by the division
                // above, and the tile at least as many groups from this token
                // on; `out` is 16 numbers. All are aligned, since blocks and
                // groups are whole words, and the core has the instructions:
                // see `new`.
                unsafe { (self.assembly)(job) };
            }
        }
    }
}

/// As [`portable::rows`], but once in the program, and out of the way of the
/// kernels: together they would need a large frame on the stack.
#[inline(never)]
pub(super) fn portable_rows<const T: usize>(
    format: NumberFormat,
    blocks: &[u8],
    len: usize,
    x: &Tile<'_, T>,
    out: Panels<'_>,
) {
    portable::rows(format, blocks, len, x, out);
}
