//! Which instructions this processor has.

/// Asks the processor, or, without `std`, what the program was compiled for.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx2() -> bool {
    #[cfg(feature = "std")]
    return std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("f16c");
    #[cfg(not(feature = "std"))]
    return cfg!(all(target_feature = "avx2", target_feature = "f16c"));
}

/// As [`has_avx2`].
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx_vnni() -> bool {
    #[cfg(feature = "std")]
    return std::is_x86_feature_detected!("avxvnni");
    #[cfg(not(feature = "std"))]
    return cfg!(target_feature = "avxvnni");
}

/// As [`has_avx2`].
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx512_vnni() -> bool {
    #[cfg(feature = "std")]
    return std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vnni");
    #[cfg(not(feature = "std"))]
    return cfg!(all(
        target_feature = "avx512f",
        target_feature = "avx512bw",
        target_feature = "avx512vnni"
    ));
}

/// As [`has_avx2`].
#[cfg(target_arch = "aarch64")]
pub(super) fn has_neon_dot() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_aarch64_feature_detected!("dotprod");
    #[cfg(not(feature = "std"))]
    return cfg!(target_feature = "dotprod");
}

/// As [`has_avx2`].
#[cfg(target_arch = "aarch64")]
pub(super) fn has_neon_i8mm() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_aarch64_feature_detected!("i8mm");
    #[cfg(not(feature = "std"))]
    return cfg!(target_feature = "i8mm");
}

/// Whether the core has the DSP extension.
#[cfg(all(dsp, not(helium)))]
pub(super) fn has_dsp() -> bool {
    // That is what the E in Armv7E-M stands for.
    true
}

/// As above.
#[cfg(helium)]
pub(super) fn has_dsp() -> bool {
    /// Instruction Set Attribute Register 3; its field SIMD is 3 with the DSP
    /// extension (Armv8-M Architecture Reference Manual, D1.2).
    const ID_ISAR3: usize = 0xe000_ed6c;
    identification(ID_ISAR3) >> 4 & 0xf >= 3
}

/// Whether the core has Helium with floating point.
#[cfg(helium)]
pub(super) fn has_helium() -> bool {
    /// Media and VFP Feature Register 1; its field MVE is 2 with both integer
    /// and floating-point instructions (as above).
    const MVFR1: usize = 0xe000_ef44;
    identification(MVFR1) >> 8 & 0xf >= 2
}

/// Reads one of the processor's identification registers; 0, as if it had
/// nothing, where only privileged code may read them.
#[cfg(helium)]
#[expect(unsafe_code, reason = "reads registers of the processor")]
fn identification(address: usize) -> u32 {
    let (control, exception): (u32, u32);
    // SAFETY: reading these two has no side effect and is always allowed.
    unsafe {
        core::arch::asm!(
            "mrs {control}, CONTROL",
            "mrs {exception}, IPSR",
            control = out(reg) control,
            exception = out(reg) exception,
            options(nomem, nostack, preserves_flags),
        );
    }
    if control & 1 == 1 && exception == 0 {
        return 0;
    }
    // SAFETY: the caller names a register of the system control space that
    // each Armv8-M core has. Privileged code may read it, without side effect.
    unsafe { core::ptr::with_exposed_provenance::<u32>(address).read_volatile() }
}
