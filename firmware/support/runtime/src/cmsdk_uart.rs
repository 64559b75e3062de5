//! The CMSDK APB UART (Arm DDI 0479, section 4.3), polled.

#![expect(
    unsafe_code,
    reason = "registers of a peripheral are memory at an address"
)]

use core::convert::Infallible;
use core::ptr::{self, with_exposed_provenance_mut};

use embedded_io::{ErrorType, Read, ReadReady, Write};

/// Offsets of the registers.
const DATA: usize = 0x0;
const STATE: usize = 0x4;
const CONTROL: usize = 0x8;
const DIVIDER: usize = 0x10;
/// Bits of STATE.
const SEND_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 2;
/// Bits of CONTROL.
const SEND_AND_RECEIVE: u32 = 3;

/// A serial line of Arm's FPGA boards.
pub struct CmsdkUart {
    base: usize,
}

impl CmsdkUart {
    /// Switches on the line whose registers begin at `base`.
    ///
    /// # Safety
    /// There must be such a UART at `base`, and nothing else may use it.
    pub unsafe fn new(base: usize) -> Self {
        let uart = Self { base };
        uart.write_register(DIVIDER, 16);
        uart.write_register(CONTROL, SEND_AND_RECEIVE);
        uart
    }

    fn has(&self, bits: u32) -> bool {
        self.read_register(STATE) & bits != 0
    }

    fn read_register(&self, offset: usize) -> u32 {
        // SAFETY: `new` was promised that the UART's registers are here and
        // ours alone; all of them can be read at any time.
        unsafe { ptr::read_volatile(with_exposed_provenance_mut(self.base + offset)) }
    }

    fn write_register(&self, offset: usize, value: u32) {
        // SAFETY: as for `read_register`; a write touches no memory.
        unsafe { ptr::write_volatile(with_exposed_provenance_mut(self.base + offset), value) }
    }
}

impl ErrorType for CmsdkUart {
    type Error = Infallible;
}

impl ReadReady for CmsdkUart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.has(RECEIVE_FULL))
    }
}

impl Read for CmsdkUart {
    /// Waits for one byte.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(place) = buffer.first_mut() else {
            return Ok(0);
        };
        while !self.has(RECEIVE_FULL) {}
        // Reading the byte makes room for the next.
        *place = self.read_register(DATA) as u8;
        Ok(1)
    }
}

impl Write for CmsdkUart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            while self.has(SEND_FULL) {}
            self.write_register(DATA, u32::from(*byte));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
