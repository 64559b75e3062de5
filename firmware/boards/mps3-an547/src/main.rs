//! Serves a briquette on an Arm MPS3 with AN547 (Cortex-M55), over its first serial line.

#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "the UART and the RAM for updates are known by their addresses"
)]

use board_runtime::cmsdk_uart::CmsdkUart;
use board_runtime::stack;
use briquette_device::Board;
use ram_flash::RamFlash;

board_runtime::model!();
ram_flash::updates!();

const BOARD: Board = Board {
    firmware: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
    target: env!("CARGO_PKG_NAME"),
    ticks: systick::ticks,
    ticks_per_second: 32_000_000,
    stack: stack::measure,
};

#[cortex_m_rt::entry]
fn main() -> ! {
    // SAFETY: Arm DAI 0547 has UART 0 there, and only this program uses it.
    let line = unsafe { CmsdkUart::new(0x5930_3000) };
    if let Some(core) = cortex_m::Peripherals::take() {
        systick::start(core.SYST);
    }
    // SAFETY: `memory.x` places nothing there, and this runs once.
    let flash = unsafe { RamFlash::new(0x7100_0000, 4 << 20) };
    let (slots, model) = ram_flash::boot(flash, BOARD.target, UPDATES);
    let model = model.unwrap_or(&MODEL.0);
    board_runtime::serve_with_updates(model, ARENA.take().bytes(), line, BOARD, slots)
}
