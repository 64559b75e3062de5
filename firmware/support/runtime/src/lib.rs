//! What every board's program shares: the model's place, the measured stack,
//! logs, how a program ends.

#![no_std]

#[cfg(feature = "qemu")]
pub mod cmsdk_uart;
mod end;
pub mod guarded;
pub mod stack;

use briquette_device::{Board, Device, End};
use briquette_engine::EngineError;
use briquette_engine::storage::BlockStorage;
use briquette_updates::ModelSlots;
use defmt::Display2Format;
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;

// Where logs go.
#[cfg(feature = "probe")]
use defmt_rtt as _;
#[cfg(feature = "qemu")]
use defmt_semihosting as _;

#[doc(hidden)]
pub use briquette_engine::{Aligned, Arena};
#[doc(hidden)]
pub use static_cell::ConstStaticCell;

/// Defines what the build script has planned: `MODEL`, the briquette, and
/// `ARENA`, exactly the memory that it needs.
#[macro_export]
macro_rules! model {
    () => {
        include!(concat!(env!("OUT_DIR"), "/model.rs"));
    };
}

/// Serves `model` over `line`, as long as there is power.
pub fn serve<L: Read + ReadReady + Write>(
    model: &'static [u8],
    arena: &'static mut [u8],
    line: L,
    board: Board,
) -> ! {
    run(Device::new(model, arena, line, board))
}

/// As [`serve`]; new models go to `slots`, if there are any.
pub fn serve_with_updates<L: Read + ReadReady + Write, F: NorFlash>(
    model: &'static [u8],
    arena: &'static mut [u8],
    line: L,
    board: Board,
    slots: Option<ModelSlots<F>>,
) -> ! {
    let device = Device::new(model, arena, line, board);
    run(device.map(|device| device.with_updates(slots)))
}

/// As [`serve`], with a model in flash that is not mapped, and `expert_slots` of
/// its experts in memory.
pub fn serve_stored<L: Read + ReadReady + Write>(
    storage: &mut dyn BlockStorage,
    expert_slots: u32,
    memory: &'static mut [u8],
    line: L,
    board: Board,
) -> ! {
    run(Device::from_storage(
        storage,
        expert_slots,
        memory,
        line,
        board,
    ))
}

fn run<L: Read + ReadReady + Write, F: NorFlash>(
    device: Result<Device<'_, L, F>, EngineError>,
) -> ! {
    match device {
        Ok(mut device) => match device.serve() {
            Ok(End::Restart) => {
                defmt::info!("restarting");
                end::restart();
            }
            Ok(End::LineEnded) => defmt::error!("the serial line has ended"),
            Err(_) => defmt::error!("the serial line failed"),
        },
        Err(error) => defmt::error!("the model cannot be run: {}", Display2Format(&error)),
    }
    end::end()
}
