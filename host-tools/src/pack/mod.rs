//! Packing a checkpoint into one file, tensor by tensor.
//!
//! Memory stays bounded whatever the checkpoint's size: rows are read, rounded
//! and written a few megabytes at a time. The file appears under its name only
//! when it is complete.

mod encode;
mod error;
mod fit;
mod formats;
mod options;
mod output;
mod packer;
mod range;
mod rotate;
mod table;
mod target;
mod writer;

pub use error::PackError;
pub use fit::{DoesNotFit, Fit};
pub use formats::{CacheFormat, FormatChoice, WeightFormat};
pub use options::PackOptions;
pub use packer::{Packed, pack};
pub use range::Direction;
pub use target::{Firmware, Runner, Target, TargetError};
