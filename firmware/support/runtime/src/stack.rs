//! How much of the stack has been used.
//!
//! `memory.x` gives the stack a region of its own below all other RAM, so that
//! a stack that overflows leaves RAM and faults instead of overwriting a
//! variable. cortex-m-rt paints it before the program starts.

#![expect(unsafe_code, reason = "it looks at the stack below what is in use")]

use briquette_device::Stack;
use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    /// Highest address of the stack, where it begins.
    pub(crate) static _stack_start: u32;
    /// Lowest address of the stack, where it must not get to.
    pub(crate) static _stack_end: u32;
}

/// The stack's size, and the most that has been used of it.
pub fn measure() -> Stack {
    let top = &raw const _stack_start;
    let bottom = &raw const _stack_end;
    let mut used = bottom;
    // SAFETY: whole words of RAM between two addresses from the linker script.
    // Reading what belongs to callers does not change it.
    while used < top && unsafe { used.read_volatile() } == STACK_PAINT_VALUE {
        used = used.wrapping_add(1);
    }
    Stack {
        peak: (top.addr() - used.addr()) as u32,
        bytes: (top.addr() - bottom.addr()) as u32,
    }
}
