//! Which instruction set the kernels use.

/// An instruction set that this processor has: the proof that kernels may use
/// it, since only detection makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(pub(super) Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    #[cfg(target_arch = "aarch64")]
    NeonI8mm,
    #[cfg(dsp)]
    Dsp,
    #[cfg(helium)]
    Helium,
}

impl Isa {
    /// Plain Rust, on every target.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// The widest instruction set of this processor.
    pub fn detect() -> Self {
        let mut best = Self::PORTABLE;
        for isa in Self::available() {
            best = isa;
        }
        best
    }

    /// All instruction sets of this processor, narrowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let mut found: heapless::Vec<Self, 4> = heapless::Vec::new();
        // Capacity 4 holds every kind, so pushing cannot fail.
        let _ = found.push(Self::PORTABLE);
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx2() {
                let _ = found.push(Self(Kind::Avx2));
            }
            if has_avx2() && has_avx_vnni() {
                let _ = found.push(Self(Kind::AvxVnni));
            }
            if has_avx2() && has_avx512_vnni() {
                let _ = found.push(Self(Kind::Avx512Vnni));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if has_neon_dot() {
            let _ = found.push(Self(Kind::NeonDot));
            if has_neon_i8mm() {
                let _ = found.push(Self(Kind::NeonI8mm));
            }
        }
        #[cfg(dsp)]
        if super::cortex_m::has_dsp() {
            let _ = found.push(Self(Kind::Dsp));
        }
        #[cfg(helium)]
        if super::cortex_m::has_helium() {
            let _ = found.push(Self(Kind::Helium));
        }
        found.into_iter()
    }

    /// The name that people type and see.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot => "neon-dotprod",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonI8mm => "neon-i8mm",
            #[cfg(dsp)]
            Kind::Dsp => "dsp",
            #[cfg(helium)]
            Kind::Helium => "helium",
        }
    }

    /// How many of `tokens` tokens a kernel takes at a time: with 32 wide
    /// registers up to 8, otherwise up to 4; two where a pair gains something.
    pub(super) const fn tile(self, tokens: usize) -> usize {
        match (self.0, tokens) {
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx512Vnni, 8..) => 8,
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx512Vnni, 2..4) => 2,
            #[cfg(target_arch = "aarch64")]
            (Kind::NeonI8mm, 2..4) => 2,
            (_, 4..) => 4,
            _ => 1,
        }
    }
}

/// Asks the processor, or without `std` what the program was compiled for.
#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    #[cfg(feature = "std")]
    return std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("f16c");
    #[cfg(not(feature = "std"))]
    return cfg!(all(target_feature = "avx2", target_feature = "f16c"));
}

/// As [`has_avx2`].
#[cfg(target_arch = "x86_64")]
fn has_avx_vnni() -> bool {
    #[cfg(feature = "std")]
    return std::is_x86_feature_detected!("avxvnni");
    #[cfg(not(feature = "std"))]
    return cfg!(target_feature = "avxvnni");
}

/// As [`has_avx2`].
#[cfg(target_arch = "x86_64")]
fn has_avx512_vnni() -> bool {
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
fn has_neon_dot() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_aarch64_feature_detected!("dotprod");
    #[cfg(not(feature = "std"))]
    return cfg!(target_feature = "dotprod");
}

/// As [`has_avx2`].
#[cfg(target_arch = "aarch64")]
fn has_neon_i8mm() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_aarch64_feature_detected!("i8mm");
    #[cfg(not(feature = "std"))]
    return cfg!(target_feature = "i8mm");
}
