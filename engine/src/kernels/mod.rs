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
//! never the order within one. `portable.rs` is the reference; each instruction
//! set has one file, tested against it bit for bit.

pub mod attend;
mod dispatch;
mod isa;
mod linear;
#[cfg(not(dsp))]
mod peak;
mod portable;
mod tile;
mod vector;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(dsp)]
mod cortex_m;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

pub use isa::Isa;
pub use linear::linear;
#[cfg(not(dsp))]
pub use peak::peak;
pub use tile::Inputs;
pub use vector::{activation, affine, hadamard, norm, quantize, reduce, rope};
