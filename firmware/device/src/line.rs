//! Bytes from a line, whichever way its driver tells that there are none or
//! that some were lost.

use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;

use super::{Device, log};

/// A line that fails so often, without a byte in between, is dead. No line at
/// 115,200 baud can report so many broken characters in less than eight
/// seconds; a driver that does nothing but fail gets there at once.
const MOST_FAILURES: u32 = 100_000;

impl<L: Read + ReadReady + Write, F: NorFlash> Device<'_, L, F> {
    /// Waits for a byte; `None` if the line has ended.
    ///
    /// Some drivers wait in `read`. Others give no bytes as long as there are
    /// none (embassy-stm32): that is the end only if they also say that there is
    /// something to read. Some report a framing error, a break or an overrun, and
    /// receive nothing more until they are read again (embassy-rp).
    pub(super) fn await_byte(&mut self) -> Result<Option<u8>, L::Error> {
        let mut ready = false;
        loop {
            let mut byte = [0];
            match self.line.read(&mut byte) {
                Ok(0) if ready => return Ok(None),
                Ok(0) => {
                    let answer = self.line.read_ready();
                    ready = answer.or_else(|error| self.excuse(error).map(|()| false))?;
                }
                Ok(_) => return Ok(Some(self.heard(byte))),
                Err(error) => {
                    self.excuse(error)?;
                    ready = false;
                }
            }
        }
    }

    /// The next byte if it has already come. Reading on after an error lets a
    /// receiver hear again while an answer is computed.
    pub(super) fn waiting_byte(&mut self) -> Result<Option<u8>, L::Error> {
        loop {
            let mut byte = [0];
            let read = match self.line.read_ready() {
                Ok(false) => return Ok(None),
                Ok(true) => self.line.read(&mut byte),
                Err(error) => Err(error),
            };
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(self.heard(byte))),
                Err(error) => self.excuse(error)?,
            }
        }
    }

    fn heard(&mut self, [byte]: [u8; 1]) -> u8 {
        self.failures = 0;
        byte
    }

    /// Skips an error of the line: what it has damaged is a frame, whose
    /// checksum will tell. The first of a series is logged.
    ///
    /// # Errors
    /// This one, if the line does nothing but fail.
    fn excuse(&mut self, error: L::Error) -> Result<(), L::Error> {
        if self.failures == 0 {
            log::debugged!("the line has lost something: {}", &error);
        }
        self.failures += 1;
        if self.failures < MOST_FAILURES {
            Ok(())
        } else {
            Err(error)
        }
    }
}
