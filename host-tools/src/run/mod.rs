//! A briquette in memory, and the executor that runs it.

mod arena;
mod backend;
#[cfg(feature = "cuda")]
pub mod cuda;
mod host;
mod mapped;
mod stored;
mod update_file;

pub use arena::Arena;
pub(crate) use backend::HOST_BATCH;
pub use backend::{Backend, ExecutorError};
pub use host::Host;
pub use mapped::{BriqFile, LoadError, Pages};
pub use stored::{Briquette, FileStorage, StoredFile, hit_rate};
pub use update_file::{SignedUpdate, UpdateDamage};
