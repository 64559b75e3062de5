//! A device at the end of a serial line: finding it, and talking with it.

mod client;
mod error;
pub mod firmware;
mod line;
pub mod signed;
mod update;
mod work;

pub use client::{Client, DeviceInfo, Patience};
pub use error::DeviceError;
pub use line::{Line, Port};
