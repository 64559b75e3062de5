//! Serves a briquette on a Raspberry Pi Pico 2 (RP2350, Cortex-M33), over
//! UART 0 on pins 1 (GP0, sends) and 2 (GP1, receives): 115,200 baud, 8N1.

#![no_std]
#![no_main]

use board_runtime::stack;
use briquette_device::{Board, Polled};
use embassy_rp::bind_interrupts;
use embassy_rp::pac::PADS_BANK0;
use embassy_rp::peripherals::UART0;
use embassy_rp::uart::{BufferedInterruptHandler, BufferedUart, Config};
use static_cell::ConstStaticCell;

board_runtime::model!();

const BOARD: Board = Board {
    firmware: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
    target: "rp2350",
    ticks: systick::ticks,
    // What embassy-rp sets the clock to.
    ticks_per_second: 150_000_000,
    stack: stack::measure,
};

bind_interrupts!(struct Interrupts {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
});

/// The number of the pin that receives.
const RECEIVES: usize = 1;

/// Whatever the host says while the model computes has room here: two frames.
static RECEIVED: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static SENT: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);

#[cortex_m_rt::entry]
fn main() -> ! {
    let board = embassy_rp::init(embassy_rp::config::Config::default());
    if let Some(core) = cortex_m::Peripherals::take() {
        systick::start(core.SYST);
    }
    let line = BufferedUart::new(
        board.UART0,
        board.PIN_0,
        board.PIN_1,
        Interrupts,
        SENT.take(),
        RECEIVED.take(),
        Config::default(),
    );
    // A receiver that nothing drives would take noise for breaks and bytes. The
    // driver sets the pad up without a pull.
    PADS_BANK0.gpio(RECEIVES).modify(|pad| pad.set_pue(true));
    let line = Polled::new(line);
    board_runtime::serve(&MODEL.0, ARENA.take().bytes(), line, BOARD)
}
