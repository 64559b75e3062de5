//! The decoder's operations in burn's own: the readable form.
//!
//! A model whose weights are integers gets the bits of the executor on the
//! processor. That needs no special kernels, only care for what floating point
//! makes differ:
//! - sums of codes are whole numbers below 2^24, exact in any order;
//! - every other sum is taken in a stated order ([`sum_in_order`],
//!   [`sum_in_lanes`]);
//! - the exponential is the engine's own ([`exp`]).
//!
//! Weights that are plain numbers are multiplied by burn's matrix product: the
//! same but for rounding.

mod affine;
mod attend;
mod experts;
mod hadamard;
mod math;
mod matrices;
mod norm;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod operations;
mod quantize;
mod rope;
mod router;
mod rows;
mod sum;

pub use affine::quantize_affine;
pub use attend::attend;
pub use experts::experts;
pub use hadamard::hadamard;
pub use math::{exp, sigmoid, silu, softmax};
pub use matrices::PlainMatrices;
pub use norm::rms_norm;
pub use quantize::{quantize, round_to_f16};
pub use rope::rotate;
pub use router::route;
pub use rows::PlainRows;
#[cfg(feature = "_cube")]
pub(super) use sum::pad;
pub use sum::{sum_in_lanes, sum_in_order};
