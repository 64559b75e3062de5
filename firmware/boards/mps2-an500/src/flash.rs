//! Serial flash, simulated: QEMU's board has none. The briquette lies in memory,
//! but nothing gets at it except by the driver's `read`.

use embedded_storage::nor_flash::{ErrorType, NorFlashErrorKind, ReadNorFlash, check_read};

/// A chip of serial flash.
pub struct SerialFlash {
    contents: &'static [u8],
}

impl SerialFlash {
    /// A chip with these contents.
    pub const fn new(contents: &'static [u8]) -> Self {
        Self { contents }
    }
}

impl ErrorType for SerialFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for SerialFlash {
    /// As of chips that are read in words of four data lines.
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let contents = self.contents.get(offset as usize..);
        let contents = contents.and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(contents.ok_or(NorFlashErrorKind::OutOfBounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.contents.len()
    }
}
