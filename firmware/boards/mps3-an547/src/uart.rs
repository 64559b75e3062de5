//! The CMSDK APB UART (Arm DDI 0479, section 4.3), polled.

use core::convert::Infallible;
use core::ptr;

use embedded_io::{ErrorType, Read, ReadReady, Write};

const BASE: usize = 0x5930_3000;
const DATA: *mut u32 = BASE as *mut u32;
const STATE: *mut u32 = (BASE + 0x4) as *mut u32;
const CONTROL: *mut u32 = (BASE + 0x8) as *mut u32;
const DIVIDER: *mut u32 = (BASE + 0x10) as *mut u32;
/// Bits of STATE.
const SEND_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 2;

/// The board's first serial line.
pub struct Uart(());

impl Uart {
    /// Switches the line on.
    pub fn new() -> Self {
        // SAFETY: these are the UART's registers, and only this module uses
        // them.
        unsafe {
            ptr::write_volatile(DIVIDER, 16);
            ptr::write_volatile(CONTROL, 3);
        }
        Self(())
    }

    fn state() -> u32 {
        // SAFETY: reading the state has no side effect.
        unsafe { ptr::read_volatile(STATE) }
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(Self::state() & RECEIVE_FULL != 0)
    }
}

impl Read for Uart {
    /// Waits for one byte.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(place) = buffer.first_mut() else {
            return Ok(0);
        };
        while Self::state() & RECEIVE_FULL == 0 {}
        // SAFETY: a byte has arrived; reading it makes room for the next.
        *place = unsafe { ptr::read_volatile(DATA) } as u8;
        Ok(1)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            while Self::state() & SEND_FULL != 0 {}
            // SAFETY: there is room for a byte.
            unsafe { ptr::write_volatile(DATA, u32::from(*byte)) };
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
