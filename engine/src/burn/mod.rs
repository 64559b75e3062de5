//! Executor 2: burn's tensors, on whatever device burn has a backend for.
//!
//! The model's equations are written over [`DecoderBackend`]: burn's own
//! operations and those that a decoder is made of. Their plain form, in `plain`,
//! runs on every backend and reads like the papers. With the feature `wgpu` or
//! `cuda`, `cube` has kernels for graphics processors.
//!
//! It needs an allocator, but no operating system.

mod attention;
mod backend;
mod codes;
#[cfg(feature = "_cube")]
pub mod cube;
mod decoder;
mod layer;
mod mlp;
mod model;
mod plain;
mod plan;
mod session;
mod slots;

pub use backend::{Activation, Angles, Attend, DecoderBackend, Likely, Routing};
pub use codes::Codes;
pub use plan::DevicePlan;
pub use session::BurnSession;
