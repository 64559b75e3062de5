//! Programs for boards: building one around a briquette, and starting it.

mod build;
mod emulator;
mod error;
mod logs;
mod probe;
mod uf2;

pub use build::{Checkout, Program};
pub use emulator::Emulator;
pub use error::FirmwareError;
pub use logs::Logs;
pub use probe::Probe;
pub use uf2::Uf2Error;
