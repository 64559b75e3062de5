//! The bytes of one token's row in the compressed cache.

mod row;

pub use row::{RowLayout, Segment};
