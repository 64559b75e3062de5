//! Serves a briquette on an Arm MPS2+ with AN500 (Cortex-M7), over its first serial line.

#![no_std]
#![no_main]

mod uart;

use briquette_device::{Board, Device};
use cortex_m_semihosting::{debug, hprintln};
use static_cell::ConstStaticCell;

/// As a briquette has to be aligned.
#[repr(C, align(64))]
struct Aligned<T>(T);

include!(concat!(env!("OUT_DIR"), "/model.rs"));

static ARENA: ConstStaticCell<Aligned<[u8; ARENA_BYTES]>> =
    ConstStaticCell::new(Aligned([0; ARENA_BYTES]));

const BOARD: Board = Board {
    firmware: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
    target: env!("CARGO_PKG_NAME"),
    ticks: systick::ticks,
    ticks_per_second: 25_000_000,
};

#[cortex_m_rt::entry]
fn main() -> ! {
    let arena = &mut ARENA.take().0;
    let line = uart::Uart::new();
    if let Some(core) = cortex_m::Peripherals::take() {
        systick::start(core.SYST);
    }
    match Device::new(&MODEL.0, arena, line, BOARD) {
        Ok(mut device) => {
            let Ok(()) = device.serve();
        }
        Err(error) => hprintln!("the model cannot be run: {}", error),
    }
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}

/// Says what went wrong, where QEMU can hear it.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}
