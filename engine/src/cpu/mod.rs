//! Executor 1: the processor, in one static arena.
//!
//! [`Plan`] says how many bytes; a session carves them once and never asks for
//! more.

mod activation;
mod arena;
mod attention;
mod buffers;
mod cache;
mod decoder;
mod layer;
mod linear;
mod lookup;
mod means;
mod mlp;
mod model;
mod mtp;
mod plan;
mod session;
mod snapshot;
mod team;
#[cfg(feature = "std")]
mod threads;

pub use arena::{ARENA_ALIGNMENT, ArenaLine};
pub use plan::Plan;
pub use session::Session;
pub use team::{Divide, Serial, Team, Units};
#[cfg(feature = "std")]
pub use threads::Threads;
