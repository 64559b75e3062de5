//! What a token costs, and what the machine can do.

mod bytes;
mod limits;
mod page;
mod report;

pub use bytes::{Products, moe_layers, touched_weight_bytes};
pub use limits::{peak_products, read_bandwidth};
pub use report::Report;
