//! Matrix kernels of 64-bit Arm.

pub(super) mod neon;
pub(super) mod neon_i8mm;
