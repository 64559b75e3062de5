//! The engine with whole models: right numbers, the same bits whatever does
//! the work, and files that are kept, damaged or read from storage.

mod bad_briquettes;
mod burn;
#[cfg(feature = "wgpu")]
mod cube;
mod experts;
mod formats;
mod golden;
mod guide;
mod kv;
mod mtp;
mod same_bits;
mod snapshot;
mod storage;
