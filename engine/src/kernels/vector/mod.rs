//! Everything on vectors but matrix products and attention.

pub mod activation;
pub mod affine;
pub mod hadamard;
pub mod norm;
pub mod quantize;
pub mod reduce;
pub mod rope;
