//! How a new model comes into a slot.

use core::ops::Range;

use briquette_protocol::update::{METADATA_LEN, Metadata, SIGNATURE_LEN, UpdateRefusal};
use embedded_storage::nor_flash::NorFlash;

use super::ModelSlots;
use super::journal::{ERASED, Head, JOURNAL_LEN, Journal, Mark, PAGE, State};

/// A briquette on its way.
#[derive(Debug)]
pub struct Upload {
    slot: usize,
    length: u32,
    received: u32,
    /// Bytes that are in flash.
    written: u32,
    /// Where the briquette starts in flash.
    start: u32,
    /// The flash is erased up to here.
    erased_to: u32,
    /// The page that is being filled.
    page: [u8; PAGE],
}

impl<F: NorFlash> ModelSlots<F> {
    /// Begins an update; one that was under way is given up. Nothing is erased
    /// unless the signature is right and the model would be welcome.
    ///
    /// # Errors
    /// Why the update is refused.
    pub fn begin(
        &mut self,
        metadata: &[u8; METADATA_LEN],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), UpdateRefusal> {
        self.upload = None;
        self.verified = None;
        if self.running.is_some_and(|running| running.on_trial) {
            return Err(UpdateRefusal::OnTrial);
        }
        let wanted = self.check(metadata, signature)?;
        let journals = [self.journal(0), self.journal(1)];
        let found = wanted.version;
        match self.newest_version(&journals) {
            Some(newest) if found < newest => return Err(UpdateRefusal::Older { found, newest }),
            _ => {}
        }
        let slot = self.spare(&journals);
        let sequences = journals.iter().filter_map(|journal| journal.head);
        let sequence = sequences.map(|head| head.sequence).max();
        let head = Head {
            sequence: sequence.map_or(1, |newest| newest.saturating_add(1)),
            metadata: *metadata,
            signature: *signature,
        };
        let place = self.places[slot].start;
        // The journal goes first: from here on the slot holds no model.
        let mut erased_to = place;
        erase_to(&mut self.flash, &mut erased_to, place + JOURNAL_LEN)?;
        Journal::begin(&mut self.flash, place, head)?;
        self.upload = Some(Upload {
            slot,
            // Not more than the room, which `check` has compared.
            length: wanted.length as u32,
            received: 0,
            written: 0,
            start: place + JOURNAL_LEN,
            erased_to,
            page: [ERASED; PAGE],
        });
        Ok(())
    }

    /// Takes the next piece of the briquette, which starts at `offset`; returns
    /// the offset of the piece after it.
    ///
    /// # Errors
    /// If it is not the piece that is due; the upload may go on with that one.
    /// If the flash fails, the upload is given up.
    pub fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<u32, UpdateRefusal> {
        let upload = self.upload.as_mut().ok_or(UpdateRefusal::NotBegun)?;
        if offset != upload.received {
            return Err(UpdateRefusal::OutOfOrder {
                expected: upload.received,
            });
        }
        if bytes.len() > (upload.length - upload.received) as usize {
            return Err(UpdateRefusal::TooMany {
                length: upload.length,
            });
        }
        let taken = upload.take(&mut self.flash, bytes);
        if taken.is_err() {
            self.upload = None;
        }
        taken
    }

    /// Verifies what has been written and makes it the model that the next boot
    /// tries; returns where it lies. Asked again, because the first answer was
    /// lost, it says the same.
    ///
    /// # Errors
    /// If it is not what was signed, or not complete; then the slot stays
    /// without a model.
    pub fn finish(&mut self) -> Result<Range<u32>, UpdateRefusal> {
        let Some(mut upload) = self.upload.take() else {
            return self.verified.clone().ok_or(UpdateRefusal::NotBegun);
        };
        if upload.received < upload.length {
            return Err(UpdateRefusal::Incomplete {
                received: upload.received,
                length: upload.length,
            });
        }
        upload.flush(&mut self.flash)?;
        let mut journal = self.journal(upload.slot);
        let head = journal.head.ok_or(UpdateRefusal::Flash)?;
        let metadata = self.check(&head.metadata, &head.signature)?;
        let range = self.verify(upload.slot, &metadata)?;
        journal.append(&mut self.flash, Mark::Verified)?;
        self.verified = Some(range.clone());
        Ok(range)
    }

    /// The greatest version among the models that have answered.
    fn newest_version(&self, journals: &[Journal; 2]) -> Option<u32> {
        let good = journals
            .iter()
            .filter(|journal| journal.state == State::Good);
        let versions = good.filter_map(|journal| {
            let head = journal.head.as_ref()?;
            Some(Metadata::decode(&head.metadata)?.version)
        });
        versions.chain(self.rules.factory).max()
    }

    /// The slot to write to: never the one that is read from, and rather one
    /// without a model or with an old one.
    fn spare(&self, journals: &[Journal; 2]) -> usize {
        match self.running {
            Some(running) => 1 - running.slot,
            None => {
                let worth = journals.each_ref().map(|journal| {
                    let usable = matches!(journal.state, State::Trial | State::Good);
                    (usable, journal.head.map(|head| head.sequence))
                });
                usize::from(worth[1] < worth[0])
            }
        }
    }
}

impl Upload {
    fn take<F: NorFlash>(&mut self, flash: &mut F, bytes: &[u8]) -> Result<u32, UpdateRefusal> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let free = &mut self.page[self.received as usize % PAGE..];
            let (now, later) = rest.split_at(rest.len().min(free.len()));
            free[..now.len()].copy_from_slice(now);
            self.received += now.len() as u32;
            if self.received.is_multiple_of(PAGE as u32) {
                self.flush(flash)?;
            }
            rest = later;
        }
        Ok(self.received)
    }

    /// Writes the page that is being filled, if there is anything in it.
    fn flush<F: NorFlash>(&mut self, flash: &mut F) -> Result<(), UpdateRefusal> {
        if self.written == self.received {
            return Ok(());
        }
        let at = self.start + self.written;
        erase_to(flash, &mut self.erased_to, at + PAGE as u32)?;
        let written = flash.write(at, &self.page);
        written.map_err(|_| UpdateRefusal::Flash)?;
        self.written = self.received;
        self.page = [ERASED; PAGE];
        Ok(())
    }
}

/// Erases sector by sector from `erased_to` until it is at least `end`.
fn erase_to<F: NorFlash>(
    flash: &mut F,
    erased_to: &mut u32,
    end: u32,
) -> Result<(), UpdateRefusal> {
    while *erased_to < end {
        let next = *erased_to + F::ERASE_SIZE as u32;
        let erased = flash.erase(*erased_to, next);
        erased.map_err(|_| UpdateRefusal::Flash)?;
        *erased_to = next;
    }
    Ok(())
}
