//! How a program ends: with a reason in its log, and in QEMU with a failure,
//! on a board with a new start.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m_rt::{ExceptionFrame, exception};
use defmt::Display2Format;

use crate::stack::{self, _stack_end, _stack_start};

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

/// Reports the fault whose frame the core has put on the stack, or meant to.
unsafe extern "C" fn report_fault(frame: *const ExceptionFrame) -> ! {
    // SAFETY: reading these registers changes nothing.
    let scb = unsafe { &*cortex_m::peripheral::SCB::PTR };
    if frame.addr() < (&raw const _stack_end).addr() {
        defmt::error!(
            "the stack has overflowed its {=u32} bytes; CFSR {=u32:#010x}",
            stack::measure().bytes,
            scb.cfsr.read()
        );
        end()
    }
    // SAFETY: it is inside the stack, where the core has written it.
    let frame = unsafe { &*frame };
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
