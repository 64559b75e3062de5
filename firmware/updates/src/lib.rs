//! Two places for a model in a device's flash, and updates that power may
//! interrupt at any write or erase.
//!
//! [`ModelSlots`] works on any flash that implements
//! [`embedded_storage::nor_flash::NorFlash`]. What it promises:
//!
//! - A model becomes active only after its signature (Ed25519) and its SHA-256
//!   were verified, and both are verified again at each boot.
//! - The model that runs is never touched. A new one is tried once: if it has
//!   not answered ([`ModelSlots::confirm`]) before the device starts again, the old
//!   one is back.
//! - After a power failure anywhere the device finds the old model or the new
//!   one, whole, and the update can be repeated.
//!
//! It allocates nothing, and no bytes in flash or in an update make it panic.
//!
//! # A slot
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 256 | head: the metadata and the signature |
//! | 256 | 15 × 256 | marks: verified, tried, good, given up |
//! | 4096 | `length` | the briquette, read in place |
//!
//! Head and marks are each written to a page of their own, and are valid only
//! with their checksum; one that is torn, or that the flash cannot read, counts
//! as none. The last mark says whether a slot is chosen at boot, newest first:
//!
//! | state | head | last mark | chosen |
//! |---|---|---|---|
//! | empty | | | no |
//! | writing | yes | | no: it is given up |
//! | trial | yes | verified | yes, and marked as tried before it runs |
//! | tried | yes | tried | no: it did not answer, and is given up |
//! | given up | yes | given up | no |
//! | good | yes | good | yes |
//!
//! A page that was being written when the power failed may read differently
//! each time. So every mark is written twice: the first copy is certain as soon as
//! anything follows it. Where a boot finds a last page that is torn or alone,
//! it writes the state that it has read once more, and keeps to that. A torn mark
//! may even read as erased: so what is given up is marked as well.
//!
//! # An update
//!
//! [`ModelSlots::begin`] checks all that the metadata tell before the slot is
//! erased, [`ModelSlots::write`] takes the briquette in pieces, in order, and
//! [`ModelSlots::finish`] reads it back from flash before it marks it as verified.
//! Then the device restarts, [`ModelSlots::boot`] chooses the new model, and the
//! first answer confirms it.

#![no_std]
#![forbid(unsafe_code)]

mod journal;
mod model_slots;
mod upload;

pub use journal::{JOURNAL_LEN, State};
pub use model_slots::{LayoutError, Model, ModelSlots, Rules, SlotInfo};
