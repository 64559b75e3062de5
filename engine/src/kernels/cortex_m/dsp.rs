//! The DSP extension of Cortex-M4, M7 and M33: one row after the other, two
//! products at a time.
//!
//! `smlad` multiplies two pairs of 16-bit numbers and adds both products. So a
//! group's codes are widened once for all 16 rows, columns 0 and 2 of four into
//! one word, 1 and 3 into the next, and put on the stack; from a word of
//! weights `sxtb16` or a mask makes the pair that belongs to each. The 16 sums
//! stay in `s16` to `s31`.

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

/// Saves the caller's registers and begins the sums. Then `r0` is the first
/// block, and the stack holds codes, scales, sums of codes, the number of
/// groups, and where the sums go.
macro_rules! enter {
    () => {
        "
        push {{r4-r11, lr}}
        vpush {{s16-s31}}
        ldm r0, {{r1-r6}}
        mov r0, r5
        push {{r6}}
        push {{r1-r4}}
        mov r1, #0
        vmov d8, r1, r1
        vmov d9, r1, r1
        vmov d10, r1, r1
        vmov d11, r1, r1
        vmov d12, r1, r1
        vmov d13, r1, r1
        vmov d14, r1, r1
        vmov d15, r1, r1
        "
    };
}

/// Begins a group: its scale in `s15`, its sum in `s14`, its codes as pairs on
/// the stack. Nothing after this changes the flags: they say whether another
/// group follows.
macro_rules! group {
    () => {
        concat!(
            "
            2:
            pop {{r9-r12}}
            vldmia r10!, {{s15}}
            vldmia r11!, {{s14}}
            add r9, r9, #32
            mov lr, r9
            subs r12, r12, #1
            push {{r9-r12}}
            ",
            pairs!(),
            pairs!(),
        )
    };
}

/// Puts 16 codes before `lr` as pairs on the stack.
macro_rules! pairs {
    () => {
        "
        ldmdb lr!, {{r9-r12}}
        sxtb16 r1, r9
        sxtb16 r2, r9, ror #8
        sxtb16 r3, r10
        sxtb16 r4, r10, ror #8
        sxtb16 r5, r11
        sxtb16 r6, r11, ror #8
        sxtb16 r7, r12
        sxtb16 r8, r12, ror #8
        push {{r1-r8}}
        "
    };
}

/// Four columns of the `q8` rows from `$row` on: adds their products to `r4`
/// to `r7`, or with `smuad` and nothing begins the sums.
#[rustfmt::skip]
macro_rules! q8_line {
    ($row:literal, $line:literal, $multiply:literal, $r4:literal, $r5:literal, $r6:literal, $r7:literal) => {
        concat!(
            "ldrd r9, r10, [sp, #8*", $line, "]\n",
            "ldrd r1, r2, [r0, #32+64*", $line, "+4*", $row, "]\n",
            "sxtb16 r11, r1\n",
            "sxtb16 r12, r2\n",
            $multiply, " r4, r11, r9", $r4, "\n",
            $multiply, " r5, r12, r9", $r5, "\n",
            "sxtb16 r11, r1, ror #8\n",
            "sxtb16 r12, r2, ror #8\n",
            "ldrd r1, r2, [r0, #40+64*", $line, "+4*", $row, "]\n",
            "smlad r4, r11, r10, r4\n",
            "smlad r5, r12, r10, r5\n",
            "sxtb16 r11, r1\n",
            "sxtb16 r12, r2\n",
            $multiply, " r6, r11, r9", $r6, "\n",
            $multiply, " r7, r12, r9", $r7, "\n",
            "sxtb16 r11, r1, ror #8\n",
            "sxtb16 r12, r2, ror #8\n",
            "smlad r6, r11, r10, r6\n",
            "smlad r7, r12, r10, r7\n",
        )
    };
    ($row:literal, $line:literal) => {
        q8_line!($row, $line, "smlad", ", r4", ", r5", ", r6", ", r7")
    };
}

/// Four rows of a `q8` block.
#[rustfmt::skip]
macro_rules! q8_four_rows {
    ($row:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            q8_line!($row, 0, "smuad", "", "", "", ""),
            q8_line!($row, 1),
            q8_line!($row, 2),
            q8_line!($row, 3),
            q8_line!($row, 4),
            q8_line!($row, 5),
            q8_line!($row, 6),
            q8_line!($row, 7),
            add_scaled!(concat!("2*", $row), "s15", times_dot!(), $a, $b, $c, $d),
        )
    };
}

/// Four columns of the low and four of the high nibbles of two `q4` rows, the
/// first of which lies at `$at` in the first line: adds their products to
/// `$first` and `$second`, or begins those at `$from_first` and `$from_second`.
#[rustfmt::skip]
macro_rules! q4_two_rows {
    ($at:expr, $line:literal, $first:literal, $second:literal, $from_first:literal, $from_second:literal) => {
        concat!(
            "ldrd r2, r3, [r0, #64*", $line, "+", $at, "]\n",
            "and r1, r8, r2\n",
            "smlad ", $first, ", r1, r9, ", $from_first, "\n",
            "and r1, r8, r3\n",
            "smlad ", $second, ", r1, r9, ", $from_second, "\n",
            "and r1, r8, r2, lsr #4\n",
            "smlad ", $first, ", r1, r11, ", $first, "\n",
            "and r1, r8, r3, lsr #4\n",
            "smlad ", $second, ", r1, r11, ", $second, "\n",
            "and r1, r8, r2, lsr #8\n",
            "smlad ", $first, ", r1, r10, ", $first, "\n",
            "and r1, r8, r3, lsr #8\n",
            "smlad ", $second, ", r1, r10, ", $second, "\n",
            "and r2, r8, r2, lsr #12\n",
            "smlad ", $first, ", r2, r12, ", $first, "\n",
            "and r3, r8, r3, lsr #12\n",
            "smlad ", $second, ", r3, r12, ", $second, "\n",
        )
    };
}

/// One line of four `q4` rows. `r8` is the mask, `lr` where sums begin.
#[rustfmt::skip]
macro_rules! q4_line {
    ($header:literal, $row:literal, $line:literal, $r4:literal, $r5:literal, $r6:literal, $r7:literal) => {
        concat!(
            "ldrd r9, r10, [sp, #8*", $line, "]\n",
            "ldrd r11, r12, [sp, #32+8*", $line, "]\n",
            q4_two_rows!(concat!($header, "+4*", $row), $line, "r4", "r5", $r4, $r5),
            q4_two_rows!(concat!($header, "+8+4*", $row), $line, "r6", "r7", $r6, $r7),
        )
    };
}

/// The dot products of four rows of a `q4` or `q4a` block.
macro_rules! q4_dot {
    ($header:literal, $row:literal) => {
        concat!(
            q4_line!($header, $row, 0, "lr", "lr", "lr", "lr"),
            q4_line!($header, $row, 1, "r4", "r5", "r6", "r7"),
            q4_line!($header, $row, 2, "r4", "r5", "r6", "r7"),
            q4_line!($header, $row, 3, "r4", "r5", "r6", "r7"),
        )
    };
}

/// Four rows of a `q4` block.
#[rustfmt::skip]
macro_rules! q4_four_rows {
    ($row:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            q4_dot!(32, $row),
            add_scaled!(concat!("2*", $row), "s15", times_dot!(), $a, $b, $c, $d),
        )
    };
}

/// Four rows of a `q4a` block.
#[rustfmt::skip]
macro_rules! q4a_four_rows {
    ($row:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            q4_dot!(64, $row),
            add_scaled!(concat!("2*", $row), "s15", times_dot!(), $a, $b, $c, $d),
            add_scaled!(concat!("32+2*", $row), "s14", "", $a, $b, $c, $d),
        )
    };
}

/// `sum += (half * factor) * with` for four rows: the halves lie from `$at` on,
/// the factor in a register; `$with` multiplies `s2` to `s5` by something else.
#[rustfmt::skip]
macro_rules! add_scaled {
    ($at:expr, $factor:literal, $with:expr, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "vldr d0, [r0, #", $at, "]\n",
            "vcvtb.f32.f16 s2, s0\n",
            "vcvtt.f32.f16 s3, s0\n",
            "vcvtb.f32.f16 s4, s1\n",
            "vcvtt.f32.f16 s5, s1\n",
            "vmul.f32 s2, s2, ", $factor, "\n",
            "vmul.f32 s3, s3, ", $factor, "\n",
            "vmul.f32 s4, s4, ", $factor, "\n",
            "vmul.f32 s5, s5, ", $factor, "\n",
            $with,
            "vadd.f32 ", $a, ", ", $a, ", s2\n",
            "vadd.f32 ", $b, ", ", $b, ", s3\n",
            "vadd.f32 ", $c, ", ", $c, ", s4\n",
            "vadd.f32 ", $d, ", ", $d, ", s5\n",
        )
    };
}

/// Multiplies `s2` to `s5` by the dot products in `r4` to `r7`.
macro_rules! times_dot {
    () => {
        "
        vmov s6, s7, r4, r5
        vmov s8, s9, r6, r7
        vcvt.f32.s32 s6, s6
        vcvt.f32.s32 s7, s7
        vcvt.f32.s32 s8, s8
        vcvt.f32.s32 s9, s9
        vmul.f32 s2, s2, s6
        vmul.f32 s3, s3, s7
        vmul.f32 s4, s4, s8
        vmul.f32 s5, s5, s9
        "
    };
}

/// Ends a group, whose block has `block` bytes, and the kernel after the last.
macro_rules! leave {
    () => {
        "
        add sp, sp, #64
        add r0, r0, #{block}
        bne 2b
        add sp, sp, #16
        pop {{r6}}
        vstmia r6, {{s16-s31}}
        vpop {{s16-s31}}
        pop {{r4-r11, pc}}
        "
    };
}

/// The instructions that the assembler may use. All Armv7E-M cores have them;
/// for Armv8-M the assembler must be told.
macro_rules! instructions {
    () => {
        ".cpu cortex-m33"
    };
}

/// Block by block: `q8`.
#[unsafe(naked)]
unsafe extern "C" fn q8_block_row(job: &Job) {
    naked_asm!(
        instructions!(),
        enter!(),
        group!(),
        q8_four_rows!(0, "s16", "s17", "s18", "s19"),
        q8_four_rows!(4, "s20", "s21", "s22", "s23"),
        q8_four_rows!(8, "s24", "s25", "s26", "s27"),
        q8_four_rows!(12, "s28", "s29", "s30", "s31"),
        leave!(),
        block = const NumberFormat::Q8.block_bytes(),
    )
}

/// Block by block: `q4`. Its codes are 8 too large, so that sums begin at -8
/// times the sum of the other codes.
#[unsafe(naked)]
unsafe extern "C" fn q4_block_row(job: &Job) {
    naked_asm!(
        instructions!(),
        enter!(),
        group!(),
        "
        vmov lr, s14
        mov r8, #0
        sub lr, r8, lr, lsl #3
        mov r8, #0x000f000f
        ",
        q4_four_rows!(0, "s16", "s17", "s18", "s19"),
        q4_four_rows!(4, "s20", "s21", "s22", "s23"),
        q4_four_rows!(8, "s24", "s25", "s26", "s27"),
        q4_four_rows!(12, "s28", "s29", "s30", "s31"),
        leave!(),
        block = const NumberFormat::Q4.block_bytes(),
    )
}

/// Block by block: `q4a`. Each group also adds its minimum, times the scale and
/// the sum of the other codes, which are multiplied into `s14`.
#[unsafe(naked)]
unsafe extern "C" fn q4a_block_row(job: &Job) {
    naked_asm!(
        instructions!(),
        enter!(),
        group!(),
        "
        vcvt.f32.s32 s14, s14
        vmul.f32 s14, s15, s14
        mov lr, #0
        mov r8, #0x000f000f
        ",
        q4a_four_rows!(0, "s16", "s17", "s18", "s19"),
        q4a_four_rows!(4, "s20", "s21", "s22", "s23"),
        q4a_four_rows!(8, "s24", "s25", "s26", "s27"),
        q4a_four_rows!(12, "s28", "s29", "s30", "s31"),
        leave!(),
        block = const NumberFormat::Q4Affine.block_bytes(),
    )
}
