//! How a program ends: with a reason in its log, and in QEMU with a failure,
//! on a board with a new start.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m_rt::{ExceptionFrame, exception};
use defmt::Display2Format;

/// Ends the program.
pub(crate) fn end() -> ! {
    defmt::flush();
    #[cfg(feature = "qemu")]
    semihosting::process::exit(1);
    #[cfg(not(feature = "qemu"))]
    cortex_m::peripheral::SCB::sys_reset();
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    cortex_m::interrupt::disable();
    // If it is the log that panics, nothing more can be said.
    if !PANICKED.swap(true, Ordering::Relaxed) {
        defmt::error!("{}", Display2Format(info));
    }
    end()
}

/// A memory access or an instruction that the core refuses.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    // SAFETY: reading these registers changes nothing.
    let scb = unsafe { &*cortex_m::peripheral::SCB::PTR };
    defmt::error!(
        "hard fault at {=u32:#010x}, called from {=u32:#010x}; CFSR {=u32:#010x}, BFAR {=u32:#010x}",
        frame.pc(),
        frame.lr(),
        scb.cfsr.read(),
        scb.bfar.read(),
    );
    end()
}

/// An interrupt that nobody serves.
#[exception]
unsafe fn DefaultHandler(number: i16) -> ! {
    defmt::error!("unexpected interrupt {=i16}", number);
    end()
}
