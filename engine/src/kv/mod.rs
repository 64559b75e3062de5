//! The compressed cache: what one token leaves behind in each layer.

mod cache;
mod row;

pub use cache::Cache;
pub use row::{RowLayout, Segment};
