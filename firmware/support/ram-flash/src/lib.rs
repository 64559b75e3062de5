//! A NOR flash that is RAM, with two places for models in it.
//!
//! QEMU's boards have no flash that can be written, but their RAM keeps what it
//! holds when the board is reset. So updates can be tried without a board.

#![no_std]
#![expect(unsafe_code, reason = "models in flash are read in place")]

mod flash;

use briquette_updates::{ModelSlots, Rules};
use defmt::Display2Format;

pub use flash::RamFlash;

/// Bytes of each of the two places.
const SLOT: u32 = 2 << 20;

/// What a program asks of updates.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The Ed25519 public key that their signatures are verified with.
    pub key: [u8; 32],
    /// Version of the model in the program.
    pub version: u32,
    /// Bytes of the arena.
    pub arena_bytes: u64,
}

/// Defines what the build script was told: `UPDATES`, what updates must be;
/// `None` if the device is to take none.
#[macro_export]
macro_rules! updates {
    () => {
        include!(concat!(env!("OUT_DIR"), "/updates.rs"));
    };
}

/// The places in `flash` for what is `wanted` by the board that is called
/// `target`; and the model in them that is to run, unless it is the one in the
/// program.
pub fn boot(
    flash: RamFlash,
    target: &'static str,
    wanted: Option<Wanted>,
) -> (Option<ModelSlots<RamFlash>>, Option<&'static [u8]>) {
    let Some(wanted) = wanted else {
        return (None, None);
    };
    let rules = Rules {
        key: wanted.key,
        formats: briquette_device::FORMATS,
        target,
        arena_bytes: wanted.arena_bytes,
        factory: Some(wanted.version),
        accept: |flash: &mut RamFlash, range, metadata| {
            // SAFETY: the bytes are looked at before anything is written.
            let file = unsafe { flash.mapped(range) };
            briquette_device::accept(file, metadata)
        },
    };
    let mut slots = match ModelSlots::new(flash, [0..SLOT, SLOT..2 * SLOT], rules) {
        Ok(slots) => slots,
        Err(error) => {
            defmt::error!("no updates: {}", Display2Format(&error));
            return (None, None);
        }
    };
    // SAFETY: slots never write to the model that runs.
    let file = slots
        .boot()
        .map(|model| unsafe { slots.flash().mapped(model.range) });
    (Some(slots), file)
}
