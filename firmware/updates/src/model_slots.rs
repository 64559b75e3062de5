//! Which model runs.

use core::ops::{Range, RangeInclusive};

use briquette_protocol::update::{
    METADATA_LEN, Metadata, Origin, SIGNATURE_LEN, UpdateRefusal, UpdateStatus,
};
use ed25519_dalek::{Signature, VerifyingKey};
use embedded_storage::nor_flash::NorFlash;
use sha2::{Digest, Sha256};

use super::journal::{JOURNAL_LEN, Journal, Mark, PAGE, State};
use super::upload::Upload;

/// What a device asks of an update.
#[derive(Debug)]
pub struct Rules<F> {
    /// The Ed25519 public key that signatures are verified with.
    pub key: [u8; 32],
    /// Major versions of the briquettes that the device reads.
    pub formats: RangeInclusive<u16>,
    /// The device's name as a target.
    pub target: &'static str,
    /// Bytes of arena that a model may need.
    pub arena_bytes: u64,
    /// Version of a model in the program itself, which runs where no slot has
    /// one; `None` if there is none.
    pub factory: Option<u32>,
    /// Looks at the briquette in this range of the flash, whose signature and
    /// digest are right: is it what the metadata tell, and can the device run
    /// it?
    pub accept: fn(&mut F, Range<u32>, &Metadata<'_>) -> Result<(), UpdateRefusal>,
}

/// The model that a device is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Where its briquette lies in flash.
    pub range: Range<u32>,
    /// Its version.
    pub version: u32,
    /// Whether it has yet to answer.
    pub on_trial: bool,
}

/// A look at a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotInfo {
    /// How far it has come.
    pub state: State,
    /// The version of what it holds, or was to hold.
    pub version: Option<u32>,
}

/// Why two ranges cannot be slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A slot does not start and end where the flash can be erased.
    #[error("a slot does not start and end at a multiple of the flash's erase size and of 256")]
    Alignment,
    /// A slot lies outside of the flash.
    #[error("a slot ends past the end of the flash")]
    OutOfBounds,
    /// The slots share bytes.
    #[error("the slots overlap")]
    Overlap,
    /// No briquette fits.
    #[error("a slot has no room for a briquette")]
    TooSmall,
    /// The public key is not one.
    #[error("the public key is not a point of the curve")]
    Key,
}

/// Two places for a model.
#[derive(Debug)]
pub struct ModelSlots<F> {
    pub(super) flash: F,
    pub(super) places: [Range<u32>; 2],
    pub(super) rules: Rules<F>,
    key: VerifyingKey,
    pub(super) running: Option<Running>,
    pub(super) upload: Option<Upload>,
    /// Where the upload lies that was verified last.
    pub(super) verified: Option<Range<u32>>,
}

/// The slot that is read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub slot: usize,
    pub version: u32,
    pub on_trial: bool,
}

impl<F: NorFlash> ModelSlots<F> {
    /// Pages suit this flash.
    const SUITED: () = assert!(
        PAGE.is_multiple_of(F::WRITE_SIZE) && PAGE.is_multiple_of(F::READ_SIZE),
        "the flash cannot write or read 256 bytes at once"
    );

    /// ModelSlots at `places` of `flash`.
    ///
    /// # Errors
    /// If the places or the key are of no use.
    pub fn new(flash: F, places: [Range<u32>; 2], rules: Rules<F>) -> Result<Self, LayoutError> {
        let () = Self::SUITED;
        for place in &places {
            check_place::<F>(place, flash.capacity())?;
        }
        if places[0].start < places[1].end && places[1].start < places[0].end {
            return Err(LayoutError::Overlap);
        }
        Ok(Self {
            flash,
            places,
            key: VerifyingKey::from_bytes(&rules.key).map_err(|_| LayoutError::Key)?,
            rules,
            running: None,
            upload: None,
            verified: None,
        })
    }

    /// Chooses the model to run: the newest that is verified and has either
    /// answered before or not been tried yet. `None`: the factory's.
    pub fn boot(&mut self) -> Option<Model> {
        self.upload = None;
        self.verified = None;
        self.running = None;
        let mut newest_first = [0, 1].map(|slot| (slot, self.settled_journal(slot)));
        let [first, second] = newest_first
            .each_ref()
            .map(|(_, journal)| journal.head.map(|head| head.sequence));
        if second > first {
            newest_first.reverse();
        }
        for (slot, journal) in &newest_first {
            if let Some(model) = self.start(*slot, journal.clone(), false) {
                return Some(model);
            }
        }
        if self.rules.factory.is_some() {
            return None;
        }
        // A model that never answered is better than none.
        newest_first
            .into_iter()
            .find_map(|(slot, journal)| self.start(slot, journal, true))
    }

    /// Says that the running model has answered: from now on it is the one to
    /// come back to. Does nothing if it has answered before.
    ///
    /// # Errors
    /// If the flash fails.
    pub fn confirm(&mut self) -> Result<(), UpdateRefusal> {
        let Some(running) = self.running.filter(|running| running.on_trial) else {
            return Ok(());
        };
        let mut journal = self.journal(running.slot);
        journal.append(&mut self.flash, Mark::Good)?;
        self.running = Some(Running {
            on_trial: false,
            ..running
        });
        Ok(())
    }

    /// A look at both slots. One whose journal cannot be read is empty.
    pub fn info(&mut self) -> [SlotInfo; 2] {
        [0, 1].map(|slot| {
            let journal = self.journal(slot);
            let metadata = journal.head.as_ref().map(|head| &head.metadata);
            SlotInfo {
                state: journal.state,
                version: metadata.and_then(Metadata::decode).map(|data| data.version),
            }
        })
    }

    /// What runs, as a host wants to know it.
    pub fn status(&self) -> UpdateStatus {
        UpdateStatus {
            version: match (self.running, self.rules.factory) {
                (Some(running), _) => running.version,
                (None, factory) => factory.unwrap_or_default(),
            },
            origin: match self.running {
                None => Origin::Factory,
                Some(running) if running.on_trial => Origin::Trial,
                Some(_) => Origin::Update,
            },
            room: self.room(),
        }
    }

    /// Bytes of the largest briquette that fits a slot.
    pub fn room(&self) -> u32 {
        self.places.iter().map(room).min().unwrap_or_default()
    }

    /// The flash, to look at.
    pub const fn flash(&self) -> &F {
        &self.flash
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    pub(super) fn journal(&mut self, slot: usize) -> Journal {
        Journal::read(&mut self.flash, self.places[slot].start)
    }

    /// The journal of `slot` at a start. What the next reading might find
    /// otherwise is written once more, as it was found now: a page that was torn
    /// may read one way today and another way tomorrow, or as erased.
    fn settled_journal(&mut self, slot: usize) -> Journal {
        let mut journal = self.journal(slot);
        let mark = match journal.state {
            // A mark that nobody sees now may be seen by the next start.
            State::Writing | State::Tried => Mark::GivenUp,
            State::Trial if journal.is_doubtful => Mark::Verified,
            State::GivenUp if journal.is_doubtful => Mark::GivenUp,
            State::Good if journal.is_doubtful => Mark::Good,
            _ => return journal,
        };
        // If the flash does not take it, it stays in doubt.
        let _ = journal.append(&mut self.flash, mark);
        journal
    }

    /// Makes `slot` the running one, if what it holds may run.
    fn start(&mut self, slot: usize, mut journal: Journal, again: bool) -> Option<Model> {
        let on_trial = match journal.state {
            State::Good => false,
            State::Trial => true,
            State::Tried | State::GivenUp if again => true,
            _ => return None,
        };
        let head = journal.head?;
        let metadata = self.check(&head.metadata, &head.signature).ok()?;
        let range = self.verify(slot, &metadata).ok()?;
        if journal.state == State::Trial {
            journal.append(&mut self.flash, Mark::Tried).ok()?;
        }
        self.running = Some(Running {
            slot,
            version: metadata.version,
            on_trial,
        });
        Some(Model {
            range,
            version: metadata.version,
            on_trial,
        })
    }

    /// Checks a signature, and what it signs against the rules.
    pub(super) fn check<'m>(
        &self,
        metadata: &'m [u8; METADATA_LEN],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<Metadata<'m>, UpdateRefusal> {
        self.key
            .verify_strict(metadata, &Signature::from_bytes(signature))
            .map_err(|_| UpdateRefusal::Signature)?;
        let metadata = Metadata::decode(metadata).ok_or(UpdateRefusal::Metadata)?;
        if !self.rules.formats.contains(&metadata.format) {
            return Err(UpdateRefusal::Format {
                found: metadata.format,
                known: *self.rules.formats.end(),
            });
        }
        if !metadata.target.is_empty() && metadata.target != self.rules.target {
            return Err(UpdateRefusal::Target);
        }
        if metadata.arena_bytes > self.rules.arena_bytes {
            return Err(UpdateRefusal::Arena {
                needed: metadata.arena_bytes,
                available: self.rules.arena_bytes,
            });
        }
        let room = u64::from(self.room());
        if metadata.length > room {
            return Err(UpdateRefusal::TooLarge {
                length: metadata.length,
                room,
            });
        }
        Ok(metadata)
    }

    /// Reads the briquette in `slot`, compares its digest with the signed one,
    /// and asks whether the device can run it.
    pub(super) fn verify(
        &mut self,
        slot: usize,
        metadata: &Metadata<'_>,
    ) -> Result<Range<u32>, UpdateRefusal> {
        let start = self.places[slot].start + JOURNAL_LEN;
        // `check` has compared it with the room, which is smaller.
        let end = start + metadata.length as u32;
        let mut digest = Sha256::new();
        let mut page = [0; PAGE];
        for at in (start..end).step_by(PAGE) {
            let read = self.flash.read(at, &mut page);
            read.map_err(|_| UpdateRefusal::Flash)?;
            let bytes = PAGE.min((end - at) as usize);
            digest.update(&page[..bytes]);
        }
        if digest.finalize()[..] != metadata.sha256 {
            return Err(UpdateRefusal::Digest);
        }
        (self.rules.accept)(&mut self.flash, start..end, metadata)?;
        Ok(start..end)
    }
}

/// Bytes of whole pages after the journal.
fn room(place: &Range<u32>) -> u32 {
    let pages = (place.end - place.start - JOURNAL_LEN) / PAGE as u32;
    pages * PAGE as u32
}

fn check_place<F: NorFlash>(place: &Range<u32>, capacity: usize) -> Result<(), LayoutError> {
    let aligned = |at: u32| (at as usize).is_multiple_of(F::ERASE_SIZE);
    if !aligned(place.start) || !aligned(place.end) || !place.start.is_multiple_of(PAGE as u32) {
        return Err(LayoutError::Alignment);
    }
    if place.end as usize > capacity {
        return Err(LayoutError::OutOfBounds);
    }
    let bytes = place.end.checked_sub(place.start);
    if bytes.is_none_or(|bytes| bytes < JOURNAL_LEN + PAGE as u32) {
        return Err(LayoutError::TooSmall);
    }
    Ok(())
}
