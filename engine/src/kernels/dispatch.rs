//! Bodies that are compiled once for each instruction set.

/// Defines a function whose first argument is the [`super::Isa`]. The body is
/// ordinary Rust over fixed-size lanes; each copy lets the compiler use wider
/// registers, and since Rust never contracts or re-associates floating point,
/// all copies give the same bits.
///
/// On microcontrollers there is nothing to choose, and a program has each
/// function once rather than in each of its callers.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        #[cfg_attr(not(dsp), inline)]
        #[cfg_attr(dsp, inline(never))]
        #[cfg_attr(
            any(target_arch = "x86_64", target_arch = "aarch64"),
            expect(unsafe_code, reason = "calls a copy whose instructions an `Isa` proves to be there")
        )]
        pub fn $name(isa: $crate::kernels::Isa, $($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c")]
            fn avx2($($arg: $type),*) $(-> $ret)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c,avx512f,avx512bw")]
            fn avx512($($arg: $type),*) $(-> $ret)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon,dotprod")]
            fn neon_dot($($arg: $type),*) $(-> $ret)? {
                body($($arg),*)
            }

            match isa.0 {
                $crate::kernels::isa::Kind::Portable => body($($arg),*),
                // SAFETY: an `Isa` of this kind exists only if detection found
                // these features on this processor.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::isa::Kind::Avx2 | $crate::kernels::isa::Kind::AvxVnni => unsafe {
                    avx2($($arg),*)
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::isa::Kind::Avx512Vnni => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "aarch64")]
                $crate::kernels::isa::Kind::NeonDot | $crate::kernels::isa::Kind::NeonI8mm => unsafe {
                    neon_dot($($arg),*)
                },
                // There is no other code for these.
                #[cfg(dsp)]
                $crate::kernels::isa::Kind::Dsp => body($($arg),*),
                #[cfg(helium)]
                $crate::kernels::isa::Kind::Helium => body($($arg),*),
            }
        }
    };
}

pub(crate) use for_each_isa;

/// Defines an instruction set's `rows`: each block row goes to the file's own
/// function for its format. `f32` weights are left to the compiler.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! rows_with {
    ($features:literal) => {
        /// As [`crate::kernels::portable::rows`].
        #[target_feature(enable = $features)]
        pub(in crate::kernels) fn rows<const T: usize>(
            format: $crate::quant::NumberFormat,
            blocks: &[u8],
            len: usize,
            x: &$crate::kernels::tile::Tile<'_, T>,
            out: $crate::kernels::tile::Panels<'_>,
        ) {
            use $crate::quant::NumberFormat;
            for (row, out) in out.rows(blocks, len) {
                match format {
                    NumberFormat::F32 => $crate::kernels::portable::f32_row(row, x, out),
                    NumberFormat::F16 => f16_row(row, x, out),
                    NumberFormat::Q8 => q8_row(row, x, out),
                    NumberFormat::Q4 => {
                        q4_row::<T, { NumberFormat::Q4.block_bytes() }, false>(row, x, out)
                    }
                    NumberFormat::Q4Affine => {
                        q4_row::<T, { NumberFormat::Q4Affine.block_bytes() }, true>(row, x, out)
                    }
                }
            }
        }
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use rows_with;
