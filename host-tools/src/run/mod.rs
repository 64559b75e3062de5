//! A briquette in memory, and the executor that runs it.

mod backend;
#[cfg(feature = "cuda")]
pub mod cuda;
mod mapped;
mod stored;
mod update_file;

pub(crate) use backend::HOST_BATCH;
pub use backend::{Backend, ExecutorError, Place, with_executor};
pub use mapped::{Arena, BriqFile, LoadError, Pages};
pub use stored::{Briquette, FileStorage, StoredFile, hit_rate};
pub use update_file::{SignedUpdate, UpdateDamage};
