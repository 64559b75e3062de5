//! Serves a briquette on an ST NUCLEO-H743ZI (STM32H743, Cortex-M7), over
//! USART 3, which its debug probe offers to the host: 115,200 baud, 8N1.

#![no_std]
#![no_main]

use board_runtime::stack;
use briquette_device::Board;
use embassy_stm32::bind_interrupts;
use embassy_stm32::peripherals::USART3;
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Pll, PllDiv, PllMul, PllPreDiv, PllSource, Sysclk, VoltageScale,
};
use embassy_stm32::usart::{BufferedInterruptHandler, BufferedUart, Config};
use static_cell::ConstStaticCell;

mod errata;

board_runtime::model!();

const BOARD: Board = Board {
    firmware: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
    target: "stm32h743",
    ticks: systick::ticks,
    ticks_per_second: 400_000_000,
    stack: stack::measure,
};

bind_interrupts!(struct Interrupts {
    USART3 => BufferedInterruptHandler<USART3>;
});

/// Whatever the host says while the model computes has room here: two frames.
static RECEIVED: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static SENT: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);

#[cortex_m_rt::entry]
fn main() -> ! {
    let board = embassy_stm32::init(clocks());
    if let Some(mut core) = cortex_m::Peripherals::take() {
        core.SCB.enable_icache();
        core.SCB.enable_dcache(&mut core.CPUID);
        systick::start(core.SYST);
    }
    let line = BufferedUart::new(
        board.USART3,
        board.PD9,
        board.PD8,
        SENT.take(),
        RECEIVED.take(),
        Interrupts,
        Config::default(),
    );
    match line {
        Ok(line) => board_runtime::serve(&MODEL.0, ARENA.take().bytes(), line, BOARD),
        Err(error) => panic!("USART 3: {error:?}"),
    }
}

/// The core at 400 MHz from the internal 64 MHz oscillator, its buses at 200
/// and 100 MHz.
fn clocks() -> embassy_stm32::Config {
    let mut config = embassy_stm32::Config::default();
    let rcc = &mut config.rcc;
    rcc.voltage_scale = VoltageScale::Scale1;
    rcc.pll1 = Some(Pll {
        source: PllSource::HSI,
        prediv: PllPreDiv::DIV4,
        mul: PllMul::MUL50,
        fracn: None,
        divp: Some(PllDiv::DIV2),
        divq: None,
        divr: None,
    });
    rcc.sys = Sysclk::PLL1_P;
    rcc.ahb_pre = AHBPrescaler::DIV2;
    rcc.apb1_pre = APBPrescaler::DIV2;
    rcc.apb2_pre = APBPrescaler::DIV2;
    rcc.apb3_pre = APBPrescaler::DIV2;
    rcc.apb4_pre = APBPrescaler::DIV2;
    config
}
