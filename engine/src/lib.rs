#![doc = include_str!("../README.md")]
//!
//! # Layers
//!
//! Each uses only those below it.
//!
//! ```text
//! Session   load, prefill, next token; snapshot: the cache as bytes, and back
//! Executor  the same calls, whichever executor answers them
//! cpu       executor 1: one arena, threads if there are any
//! burn      executor 2: the same walk through the layers, on burn's tensors
//! execute   what both share: which experts a token goes through, which stay in memory
//! kernels   the arithmetic, once for each instruction set, with the same bits
//! storage   briquettes that cannot be addressed, read block by block
//! kv        rows of the cache, and their bytes
//! blob      the .briq file: header, manifest, table of tensors, and all its checks
//! text      tokenizer, sampler, the rules of an answer; knows neither file nor model
//! quant     number formats: blocks of 16 rows and 32 columns
//! ```
//!
//! A session opens a [`blob`], carves the buffers that a [`cpu::Plan`] lists from
//! the arena, and takes tokens in. The file's order is the order of use: its tensors
//! are walked through, never searched.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "_burn")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod aligned;
pub mod blob;
#[cfg(feature = "_burn")]
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
mod math;
pub mod quant;
pub mod storage;
pub mod text;

pub use aligned::{Aligned, Arena};
pub use cpu::{Plan, Session};
pub use digest::logits_digest;
pub use error::EngineError;
pub use execute::{Executor, PlanOptions, StorageTraffic, Traffic, snapshot};
pub use kernels::Isa;
