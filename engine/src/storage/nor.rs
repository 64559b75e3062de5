//! Flash with a driver for `embedded-storage`.

use embedded_storage::nor_flash::ReadNorFlash;

use super::{BlockStorage, ReadFailed};

/// A briquette in serial flash, through any driver that implements
/// `embedded-storage`'s `ReadNorFlash`: SPI NOR, QSPI that is not mapped, a
/// microcontroller's own flash. The driver's `READ_SIZE` must divide
/// [`super::READ_UNIT`].
///
/// `ReadNorFlash` counts bytes in 32 bits; a larger card or file implements
/// [`BlockStorage`] itself.
#[derive(Debug)]
pub struct NorStorage<F> {
    flash: F,
    start: u32,
}

impl<F: ReadNorFlash> NorStorage<F> {
    /// The briquette that starts at byte `start` of `flash`.
    pub const fn new(flash: F, start: u32) -> Self {
        Self { flash, start }
    }
}

impl<F: ReadNorFlash + Send> BlockStorage for NorStorage<F> {
    fn capacity(&self) -> u64 {
        (self.flash.capacity() as u64).saturating_sub(self.start.into())
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadFailed> {
        let at = u32::try_from(offset).ok();
        let at = at.and_then(|offset| self.start.checked_add(offset));
        let read = self.flash.read(at.ok_or(ReadFailed)?, bytes);
        read.map_err(|_| ReadFailed)
    }
}
