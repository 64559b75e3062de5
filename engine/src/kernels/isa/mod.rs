//! Which instruction set the kernels use.

mod detect;

/// An instruction set that this processor has: the proof that kernels may use
/// it, since only detection makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(pub(in crate::kernels) Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Kind {
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
            if detect::has_avx2() {
                let _ = found.push(Self(Kind::Avx2));
            }
            if detect::has_avx2() && detect::has_avx_vnni() {
                let _ = found.push(Self(Kind::AvxVnni));
            }
            if detect::has_avx2() && detect::has_avx512_vnni() {
                let _ = found.push(Self(Kind::Avx512Vnni));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if detect::has_neon_dot() {
            let _ = found.push(Self(Kind::NeonDot));
            if detect::has_neon_i8mm() {
                let _ = found.push(Self(Kind::NeonI8mm));
            }
        }
        #[cfg(dsp)]
        if detect::has_dsp() {
            let _ = found.push(Self(Kind::Dsp));
        }
        #[cfg(helium)]
        if detect::has_helium() {
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
    /// registers up to 8, otherwise up to 4; two where pairs are worth it.
    pub(in crate::kernels) const fn tile(self, tokens: usize) -> usize {
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
