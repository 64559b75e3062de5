//! The arithmetic ceiling: products of codes and nothing else.

#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(
        unsafe_code,
        reason = "calls kernels of an instruction set, which an `Isa` proves to be there"
    )
)]

use super::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::isa::Kind;

/// Multiplies codes and adds them up, in registers alone, with the instructions
/// that the matrix kernels use; returns how many multiply-adds that were.
/// Timing it gives the ceiling that no kernel can exceed. `None` for portable
/// code, where compilers choose the instructions, and on microcontrollers.
pub fn peak(isa: Isa, rounds: u32) -> Option<u64> {
    let per_round: Option<u64> = match isa.0 {
        // SAFETY: an `Isa` of this kind exists only if detection found the
        // features that the function is compiled for.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => Some(unsafe { super::x86::avx2::peak(rounds) }),
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni => Some(unsafe { super::x86::avx_vnni::peak(rounds) }),
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512Vnni => Some(unsafe { super::x86::avx512::peak(rounds) }),
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Kind::NeonDot => Some(unsafe { super::aarch64::neon::peak(rounds) }),
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Kind::NeonI8mm => Some(unsafe { super::aarch64::neon_i8mm::peak(rounds) }),
        _ => None,
    };
    per_round.map(|count| u64::from(rounds) * count)
}
