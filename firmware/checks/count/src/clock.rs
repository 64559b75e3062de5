//! Instructions from the system timer: QEMU's `-icount` makes each instruction
//! take the same time.

#![expect(unsafe_code, reason = "the loop of known length is assembly")]

use core::arch::asm;

use cortex_m::peripheral::SYST;
use semihosting::println;

/// Iterations of a loop of two instructions that show how long one takes.
const KNOWN: u32 = 1 << 20;

/// The system timer, calibrated.
pub struct Clock {
    /// Ticks that twice [`KNOWN`] instructions take.
    ticks: u64,
}

impl Clock {
    /// Starts the timer. `None`, with a message, if a loop of known length is
    /// not counted to within 1 in 10,000, as it is not without `-icount`.
    pub fn new(timer: SYST) -> Option<Self> {
        systick::start(timer);
        // The counter reads 0 until its first tick.
        spin(1000);
        let clock = Self {
            ticks: ticks(|| spin(KNOWN)),
        };
        for iterations in [KNOWN / 7, 3 * KNOWN] {
            let counted = clock.count(|| spin(iterations));
            if counted.abs_diff(2 * u64::from(iterations)) > u64::from(iterations) / 5000 {
                println!(
                    "{} instructions were counted as {}",
                    2 * iterations,
                    counted
                );
                return None;
            }
        }
        Some(clock)
    }

    /// Instructions of `work`, measured often enough to be exact to one.
    pub fn instructions(&self, mut work: impl FnMut()) -> u64 {
        const TIMES: u32 = 64;
        let all = self.count(|| {
            for _ in 0..TIMES {
                work();
            }
        });
        (all + u64::from(TIMES) / 2) / u64::from(TIMES)
    }

    fn count(&self, work: impl FnMut()) -> u64 {
        ticks(work) * 2 * u64::from(KNOWN) / self.ticks
    }
}

/// Ticks that pass during `work`.
fn ticks(mut work: impl FnMut()) -> u64 {
    let before = systick::ticks();
    work();
    systick::ticks() - before
}

/// Two instructions, `iterations` times.
#[inline(never)]
fn spin(iterations: u32) {
    // SAFETY: only a register and the flags change.
    unsafe {
        asm!(
            "2:",
            "subs {left}, {left}, #1",
            "bne 2b",
            left = inout(reg) iterations => _,
            options(nomem, nostack),
        );
    }
}
