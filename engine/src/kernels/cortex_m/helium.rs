//! Helium, the M-profile vector extension, of Cortex-M55 and M85: one row after
//! the other, 16 products at a time.
//!
//! `vldrw.u32` gathers a row's words out of four lines, which is 16 columns;
//! `vmladava.s8` adds 16 products to one register. Four rows' sums are scaled
//! together. Eight rows at a time go through all blocks, so that their sums
//! stay in `q6` and `q7`.
//!
//! Vector arithmetic flushes subnormal numbers to zero. There are none:
//! [`crate::kernels::quantize`] gives no scale between 0 and 2^-74, and `f16` ends at
//! 2^-24, so all products are 0 or at least 2^-98, and what is left when such
//! numbers cancel out is 0 or at least 2^-121.

#![expect(unsafe_code, reason = "functions in assembly")]

use core::arch::naked_asm;

use super::job::{Assembly, Job};
use crate::quant::NumberFormat;

/// The kernel for blocks of this format.
pub(super) const fn kernel(format: NumberFormat) -> Option<Assembly> {
    match format {
        NumberFormat::F32 | NumberFormat::F16 => None,
        NumberFormat::Q8 => Some(q8_block_row),
        NumberFormat::Q4 => Some(q4_block_row),
        NumberFormat::Q4Affine => Some(q4a_block_row),
    }
}

/// Saves the caller's registers.
macro_rules! enter {
    () => {
        "
        .cpu cortex-m55
        push {{r4-r11, lr}}
        vpush {{d8-d15}}
        mov r11, r0
        "
    };
}

/// Begins eight rows: their sums are `q6` and `q7`, `r0` is the first block,
/// `r1` to `r3` codes, scales and sums of codes, `r12` where the sums go; `q2`
/// points at the first row's four lines, as if the block had no header.
macro_rules! eight_rows {
    () => {
        "
        ldm r11, {{r1-r4, r6, r12}}
        mov r0, r6
        mov r6, #0
        vidup.u32 q2, r6, #8
        vshl.i32 q2, q2, #3
        vadd.i32 q2, q2, r0
        vmov.i32 q6, #0
        vmov.i32 q7, #0
        dls lr, r4
        2:
        vldrb.u8 q0, [r1], #16
        vldrb.u8 q1, [r1], #16
        ldr r5, [r2], #4
        "
    };
}

/// Ends a group, whose block has `block` bytes (also in `r9`), and after the
/// last the eight rows.
#[rustfmt::skip]
macro_rules! eight_rows_done {
    ($out:literal) => {
        concat!(
            "vadd.i32 q2, q2, r9\n",
            "add r0, r0, #{block}\n",
            "le lr, 2b\n",
            "vstrw.u32 q6, [r12, #", $out, "]\n",
            "vstrw.u32 q7, [r12, #", $out, "+16]\n",
        )
    };
}

macro_rules! leave {
    () => {
        "
        vpop {{d8-d15}}
        pop {{r4-r11, pc}}
        "
    };
}

/// Puts the dot product of a `q8` row into `$dot`.
#[rustfmt::skip]
macro_rules! q8_row {
    ($dot:literal, $row:expr) => {
        concat!(
            "vldrw.u32 q3, [q2, #32+4*(", $row, ")]\n",
            "vmladav.s8 ", $dot, ", q3, q0\n",
            "vldrw.u32 q4, [q2, #32+4*64+4*(", $row, ")]\n",
            "vmladava.s8 ", $dot, ", q4, q1\n",
        )
    };
}

/// Puts the dot product of a `q4` row into `$dot`. `q5` is the mask.
#[rustfmt::skip]
macro_rules! q4_row {
    ($header:literal, $dot:literal, $row:expr) => {
        concat!(
            "vldrw.u32 q3, [q2, #", $header, "+4*(", $row, ")]\n",
            "vand q4, q3, q5\n",
            "vmladav.s8 ", $dot, ", q4, q0\n",
            "vshr.u8 q3, q3, #4\n",
            "vmladava.s8 ", $dot, ", q3, q1\n",
        )
    };
}

/// Puts four rows' dot products into `q4`.
macro_rules! gather_dots {
    () => {
        "
        vmov q4[2], q4[0], r4, r8
        vmov q4[3], q4[1], r6, r10
        "
    };
}

/// `sum + (scale_w * scale_x) * dot` for four rows from `$row` on, whose dot
/// products are in `q4`.
#[rustfmt::skip]
macro_rules! add_scaled {
    ($sum:literal, $row:literal) => {
        concat!(
            "vldrh.u32 q3, [r0, #2*", $row, "]\n",
            "vcvtb.f32.f16 q3, q3\n",
            "vcvt.f32.s32 q4, q4\n",
            "vmul.f32 q3, q3, r5\n",
            "vmul.f32 q3, q3, q4\n",
            "vadd.f32 ", $sum, ", ", $sum, ", q3\n",
        )
    };
}

#[rustfmt::skip]
macro_rules! q8_four_rows {
    ($sum:literal, $row:literal) => {
        concat!(
            q8_row!("r4", $row),
            q8_row!("r6", concat!($row, "+1")),
            q8_row!("r8", concat!($row, "+2")),
            q8_row!("r10", concat!($row, "+3")),
            gather_dots!(),
            add_scaled!($sum, $row),
        )
    };
}

/// Puts the dot products of four `q4` rows into `q4`.
#[rustfmt::skip]
macro_rules! q4_dots {
    ($header:literal, $row:literal) => {
        concat!(
            q4_row!($header, "r4", $row),
            q4_row!($header, "r6", concat!($row, "+1")),
            q4_row!($header, "r8", concat!($row, "+2")),
            q4_row!($header, "r10", concat!($row, "+3")),
            gather_dots!(),
        )
    };
}

#[rustfmt::skip]
macro_rules! q8_eight_rows {
    ($out:literal, $first:literal, $second:literal) => {
        concat!(
            eight_rows!(),
            q8_four_rows!("q6", $first),
            q8_four_rows!("q7", $second),
            eight_rows_done!($out),
        )
    };
}

/// The codes of `q4` are 8 too large: 8 times the sum of the other codes, in
/// `r7`, is taken off.
#[rustfmt::skip]
macro_rules! q4_eight_rows {
    ($out:literal, $first:literal, $second:literal) => {
        concat!(
            eight_rows!(),
            "ldr r7, [r3], #4\n",
            "lsl r7, r7, #3\n",
            q4_dots!(32, $first),
            "vsub.i32 q4, q4, r7\n",
            add_scaled!("q6", $first),
            q4_dots!(32, $second),
            "vsub.i32 q4, q4, r7\n",
            add_scaled!("q7", $second),
            eight_rows_done!($out),
        )
    };
}

/// Each group of `q4a` also adds its minimum, times the scale and the sum of
/// the other codes, which are multiplied into `r7`.
#[rustfmt::skip]
macro_rules! q4a_eight_rows {
    ($out:literal, $first:literal, $second:literal) => {
        concat!(
            eight_rows!(),
            "
            vldmia r3!, {{s12}}
            vmov s13, r5
            vcvt.f32.s32 s12, s12
            vmul.f32 s12, s13, s12
            vmov r7, s12
            ",
            q4_dots!(64, $first),
            add_scaled!("q6", $first),
            add_minimum!("q6", $first),
            q4_dots!(64, $second),
            add_scaled!("q7", $second),
            add_minimum!("q7", $second),
            eight_rows_done!($out),
        )
    };
}

#[rustfmt::skip]
macro_rules! add_minimum {
    ($sum:literal, $row:literal) => {
        concat!(
            "vldrh.u32 q3, [r0, #32+2*", $row, "]\n",
            "vcvtb.f32.f16 q3, q3\n",
            "vmul.f32 q3, q3, r7\n",
            "vadd.f32 ", $sum, ", ", $sum, ", q3\n",
        )
    };
}

/// Block by block: `q8`.
#[unsafe(naked)]
unsafe extern "C" fn q8_block_row(job: &Job) {
    naked_asm!(
        enter!(),
        "mov r9, #{block}",
        q8_eight_rows!(0, 0, 4),
        q8_eight_rows!(32, 8, 12),
        leave!(),
        block = const NumberFormat::Q8.block_bytes(),
    )
}

/// Block by block: `q4`.
#[unsafe(naked)]
unsafe extern "C" fn q4_block_row(job: &Job) {
    naked_asm!(
        enter!(),
        "mov r9, #{block}",
        "vmov.i8 q5, #15",
        q4_eight_rows!(0, 0, 4),
        q4_eight_rows!(32, 8, 12),
        leave!(),
        block = const NumberFormat::Q4.block_bytes(),
    )
}

/// Block by block: `q4a`.
#[unsafe(naked)]
unsafe extern "C" fn q4a_block_row(job: &Job) {
    naked_asm!(
        enter!(),
        "mov r9, #{block}",
        "vmov.i8 q5, #15",
        q4a_eight_rows!(0, 0, 4),
        q4a_eight_rows!(32, 8, 12),
        leave!(),
        block = const NumberFormat::Q4Affine.block_bytes(),
    )
}
