//! The processor's cycles, counted by SysTick (Armv7-M Architecture Reference
//! Manual, section B3.3), which every Cortex-M board has and QEMU knows.

#![no_std]

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

/// The counter runs from here down to 0.
const RELOAD: u32 = 0x00ff_ffff;

/// How often it has done so.
static ROUNDS: AtomicU32 = AtomicU32::new(0);

/// Starts the clock.
pub fn start(mut timer: SYST) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(RELOAD);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

/// Cycles since the clock was started. Interrupts must be on.
pub fn ticks() -> u64 {
    loop {
        let rounds = ROUNDS.load(Ordering::Relaxed);
        let left = SYST::get_current();
        // A round that ended in between is counted by now, or will be.
        if rounds == ROUNDS.load(Ordering::Relaxed) {
            return u64::from(rounds) * u64::from(RELOAD + 1) + u64::from(RELOAD - left);
        }
    }
}

#[cortex_m_rt::exception]
fn SysTick() {
    ROUNDS.store(
        ROUNDS.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}
