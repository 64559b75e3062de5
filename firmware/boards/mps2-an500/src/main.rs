//! Serves a briquette on an Arm MPS2+ with AN500 (Cortex-M7), over its first serial line.

#![no_std]
#![no_main]

mod flash;

use board_runtime::cmsdk_uart::CmsdkUart;
use board_runtime::stack;
use briquette_device::Board;
use briquette_engine::storage::NorStorage;
use flash::SerialFlash;

board_runtime::model!();

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
    let arena = &mut ARENA.take().0;
    if EXPERT_SLOTS == 0 {
        board_runtime::serve(&MODEL.0, arena, line, BOARD)
    }
    let mut flash = NorStorage::new(SerialFlash::new(&MODEL.0), 0);
    board_runtime::serve_stored(&mut flash, EXPERT_SLOTS, arena, line, BOARD)
}
