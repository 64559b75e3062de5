//! The arithmetic, with the same bits on every CPU.
//!
//! Three rules make that so:
//! - inside a group of 32 columns, products of weight and activation codes are
//!   summed exactly, in `i32`;
//! - a row's groups are added in ascending order, multiplication and addition
//!   apart: nothing is contracted or re-associated;
//! - sums over `f32` vectors use 16 virtual lanes and one fixed tree.
//!
//! So a wider instruction set changes how many rows are worked on at a time,
//! never the order within one. [`portable`] is the reference; each instruction
//! set has one file, tested against it bit for bit.

pub mod affine;
pub mod attend;
mod dispatch;
pub mod hadamard;
mod isa;
mod linear;
pub mod math;
pub mod norm;
#[cfg(not(dsp))]
mod peak;
pub mod portable;
pub mod quantize;
pub mod reduce;
pub mod rope;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(dsp)]
mod cortex_m;
#[cfg(dsp)]
mod dsp;
#[cfg(helium)]
mod helium;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_i8mm;

pub use isa::Isa;
pub use linear::{Inputs, linear};
#[cfg(not(dsp))]
pub use peak::peak;
