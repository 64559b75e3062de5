//! Pressing a checkpoint into one file, tensor by tensor.
//!
//! Memory stays bounded whatever the checkpoint's size: rows are read, rounded
//! and written a few megabytes at a time. The file appears under its name only
//! when it is complete.

mod encode;
mod error;
mod formats;
mod output;
mod press;
mod range;
mod rotate;
mod target;

pub use error::PackError;
pub use formats::{FormatChoice, WeightFormat};
pub use press::{PackOptions, Packed, press};
pub use range::Direction;
pub use target::{DoesNotFit, Firmware, Fit, Runner, Target, TargetError};
