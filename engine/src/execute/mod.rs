//! What both executors share: the calls that they answer, what they are asked
//! to hold and what they count, the choice of experts, and which of them stay
//! in memory.

mod admit;
mod executor;
mod options;
pub(crate) mod router;
pub(crate) mod slots;
pub mod snapshot;
mod traffic;
mod window;

pub(crate) use admit::admit;
pub use executor::Executor;
pub(crate) use options::Logits;
pub use options::PlanOptions;
pub use traffic::{StorageTraffic, Traffic};
pub(crate) use window::window;
