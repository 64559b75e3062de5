//! Serves a briquette on an Arm MPS2+ with AN500 (Cortex-M7), over its first serial line.

#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "the UART and the RAM for updates are known by their addresses"
)]

mod flash;

use board_runtime::cmsdk_uart::CmsdkUart;
use board_runtime::stack;
use briquette_device::Board;
use briquette_engine::storage::NorStorage;
use flash::SerialFlash;
use ram_flash::RamFlash;

board_runtime::model!();
ram_flash::updates!();

const BOARD: Board = Board {
    firmware: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
    target: env!("CARGO_PKG_NAME"),
    ticks: systick::ticks,
    ticks_per_second: 25_000_000,
    stack: stack::measure,
};

#[cortex_m_rt::entry]
fn main() -> ! {
    // SAFETY: Arm DAI 0500 has UART 0 there, and only this program uses it.
    let line = unsafe { CmsdkUart::new(0x4000_4000) };
    if let Some(core) = cortex_m::Peripherals::take() {
        systick::start(core.SYST);
    }
    let arena = ARENA.take().bytes();
    if EXPERT_SLOTS == 0 {
        // SAFETY: `memory.x` places nothing there, and this runs once.
        let flash = unsafe { RamFlash::new(0x60c0_0000, 4 << 20) };
        let (slots, model) = ram_flash::boot(flash, BOARD.target, UPDATES);
        let model = model.unwrap_or(&MODEL.0);
        board_runtime::serve_with_updates(model, arena, line, BOARD, slots)
    }
    let mut flash = NorStorage::new(SerialFlash::new(&MODEL.0), 0);
    board_runtime::serve_stored(&mut flash, EXPERT_SLOTS, arena, line, BOARD)
}
