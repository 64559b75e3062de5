//! RAM as a NOR flash.

#![expect(unsafe_code, reason = "the flash is RAM at an address")]

use core::ops::Range;
use core::ptr::{NonNull, with_exposed_provenance_mut};

use board_runtime::guarded;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// RAM that is written and erased as NOR flash is: writing only clears bits.
#[derive(Debug)]
pub struct RamFlash {
    base: usize,
    bytes: usize,
}

impl RamFlash {
    /// The flash of `bytes` bytes at `base`.
    ///
    /// # Safety
    /// There must be that much RAM, no Rust object may live in it, and there must
    /// be one flash only.
    pub const unsafe fn new(base: usize, bytes: usize) -> Self {
        Self { base, bytes }
    }

    /// What lies in `range`, to be read in place; empty if it is out of bounds.
    ///
    /// # Safety
    /// The range must not be written or erased as long as the bytes are used.
    pub unsafe fn mapped(&self, range: Range<u32>) -> &'static [u8] {
        let length = range.end.saturating_sub(range.start) as usize;
        if check_read(self, range.start, length).is_err() {
            return &[];
        }
        // SAFETY: `new` was promised RAM there that lives as long as the
        // program, any bytes are valid, and the caller promises that they do
        // not change.
        unsafe { core::slice::from_raw_parts(self.at(range.start).as_ptr(), length) }
    }

    /// The address of a byte within bounds.
    fn at(&self, offset: u32) -> NonNull<u8> {
        let address = self.base + offset as usize;
        // The flash does not begin at address 0.
        NonNull::new(with_exposed_provenance_mut(address)).unwrap_or(NonNull::dangling())
    }

    /// Changes the byte at an offset within bounds.
    fn change(&mut self, offset: u32, change: impl FnOnce(u8) -> u8) {
        let place = self.at(offset).as_ptr();
        // SAFETY: `new` was promised RAM there that nothing else uses, and
        // whoever reads it in place has promised that it does not change.
        unsafe { place.write_volatile(change(place.read_volatile())) };
    }
}

impl ErrorType for RamFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for RamFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let start = self.at(offset).addr().get();
        // As real flash must be read, which refuses to give a word that was torn.
        // SAFETY: the RAM is there, as `new` was promised, and may be read.
        let read = unsafe { guarded::read(start, bytes) };
        read.map_err(|guarded::Refused| NorFlashErrorKind::Other)
    }

    fn capacity(&self) -> usize {
        self.bytes
    }
}

impl NorFlash for RamFlash {
    const WRITE_SIZE: usize = 256;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for at in from..to {
            self.change(at, |_| 0xff);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (byte, at) in bytes.iter().zip(offset..) {
            self.change(at, |old| old & byte);
        }
        Ok(())
    }
}
