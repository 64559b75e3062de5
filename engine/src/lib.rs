#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "burn")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod aligned;
pub mod blob;
#[cfg(feature = "burn")]
pub mod burn;
pub mod cpu;
mod cut;
mod digest;
mod error;
mod execute;
// For this repository's tools and benchmarks; not part of the interface.
#[doc(hidden)]
pub mod kernels;
pub mod kv;
pub mod quant;
pub mod storage;
pub mod text;

pub use aligned::{Aligned, Arena};
pub use cpu::{Plan, Session};
pub use digest::logits_digest;
pub use error::EngineError;
pub use execute::{Executor, PlanOptions, StorageTraffic, Traffic, snapshot};
pub use kernels::Isa;
