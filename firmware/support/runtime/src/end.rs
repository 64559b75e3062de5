//! How a program ends: with a reason in its log, and in QEMU with a failure,
//! on a board with a restart.

#![expect(
    unsafe_code,
    reason = "a fault handler looks at the registers and the stack of what has failed"
)]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m_rt::{ExceptionFrame, exception};
use defmt::Display2Format;

use crate::guarded;
use crate::stack::{self, _stack_end, _stack_start};

/// Cycles in which a debug probe fetches the last of a log: a third of a second
/// on a Pico 2.
#[cfg(not(feature = "qemu"))]
const LOG_CYCLES: u32 = 50_000_000;

/// Ends the program.
pub(crate) fn end() -> ! {
    #[cfg(feature = "qemu")]
    {
        defmt::flush();
        semihosting::process::exit(1)
    }
    #[cfg(not(feature = "qemu"))]
    restart()
}

/// Restarts the board.
pub(crate) fn restart() -> ! {
    // With RTT `defmt::flush` would wait until a probe has fetched everything: for
    // ever, if it was unplugged while it showed the log.
    #[cfg(not(feature = "qemu"))]
    cortex_m::asm::delay(LOG_CYCLES);
    cortex_m::peripheral::SCB::sys_reset()
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

/// Where the core goes when it refuses a memory access or an instruction. If the
/// stack has overflowed, or is about to, there is no room below for the report:
/// then it takes the stack from its beginning.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn HardFault() -> ! {
    core::arch::naked_asm!(
        "mov r0, sp",
        "movw r1, #:lower16:{end} + {report_bytes}",
        "movt r1, #:upper16:{end} + {report_bytes}",
        "cmp r0, r1",
        "bhs 2f",
        "movw r1, #:lower16:{start}",
        "movt r1, #:upper16:{start}",
        "mov sp, r1",
        "2:",
        "b {report}",
        end = sym _stack_end,
        start = sym _stack_start,
        report_bytes = const REPORT_BYTES,
        report = sym report_fault,
    )
}

/// Stack that a report may take.
const REPORT_BYTES: usize = 2048;

/// STKOF of the fault status: the stack was to grow beyond its limit (Armv8-M).
const STACK_OVERFLOW: u32 = 1 << 20;

/// Reports the fault whose frame the core has put on the stack, or meant to.
/// Returns to the program if it expected the fault.
unsafe extern "C" fn report_fault(frame: *mut ExceptionFrame) {
    // SAFETY: reading these registers changes nothing.
    let scb = unsafe { &*cortex_m::peripheral::SCB::PTR };
    let status = scb.cfsr.read();
    // A core that knows the stack's limit refuses to go beyond it; any other one
    // finds no memory there.
    let is_below = frame.addr() < (&raw const _stack_end).addr();
    if is_below || status & STACK_OVERFLOW != 0 {
        defmt::error!(
            "the stack has overflowed its {=u32} bytes; CFSR {=u32:#010x}",
            stack::measure().bytes,
            status
        );
        end()
    }
    // SAFETY: it is inside the stack, where the core has written it.
    let frame = unsafe { &mut *frame };
    // SAFETY: as above.
    if unsafe { guarded::excuse(frame) } {
        return;
    }
    defmt::error!(
        "hard fault at {=u32:#010x}, called from {=u32:#010x}; CFSR {=u32:#010x}, BFAR {=u32:#010x}",
        frame.pc(),
        frame.lr(),
        status,
        scb.bfar.read(),
    );
    end()
}

/// An interrupt without a handler.
#[exception]
unsafe fn DefaultHandler(number: i16) -> ! {
    defmt::error!("unexpected interrupt {=i16}", number);
    end()
}
