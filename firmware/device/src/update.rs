//! New models for a device that runs.

use core::convert::Infallible;
use core::ops::RangeInclusive;

use briquette_engine::blob::{Blob, MAJOR_VERSIONS};
use briquette_engine::{Plan, PlanOptions};
use briquette_protocol::update::{Metadata, UpdateRefusal, UpdateRequest, UpdateResponse};
use briquette_protocol::{Refusal, Response};
use briquette_updates::ModelSlots;
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use super::{Device, Outcome};

/// Major versions of the briquettes that a device reads.
pub const FORMATS: RangeInclusive<u16> = MAJOR_VERSIONS;

/// The flash of a device that takes no updates.
#[derive(Debug)]
pub enum NoFlash {}

impl ErrorType for NoFlash {
    type Error = Infallible;
}

impl ReadNorFlash for NoFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), Infallible> {
        match *self {}
    }

    fn capacity(&self) -> usize {
        match *self {}
    }
}

impl NorFlash for NoFlash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 1;

    fn erase(&mut self, _: u32, _: u32) -> Result<(), Infallible> {
        match *self {}
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), Infallible> {
        match *self {}
    }
}

impl<L: Read + ReadReady + Write, F: NorFlash> Device<'_, L, F> {
    /// Answers a request about updates. Returns whether to restart.
    pub(super) fn update(&mut self, request: &UpdateRequest<'_>) -> Result<bool, L::Error> {
        let done = match &mut self.slots {
            Some(slots) => update(slots, request),
            None => Err(UpdateRefusal::NoSlots),
        };
        self.send(&match done {
            Ok(response) => Response::Update(response),
            Err(refusal) => Response::Refused(Refusal::Update(refusal)),
        })?;
        Ok(done == Ok(UpdateResponse::Restarting))
    }

    /// Keeps a model that has answered. If the flash does not take that, the
    /// model stays on trial, which the host sees in its status.
    pub(super) fn confirm(&mut self, outcome: Outcome) {
        if let (Ok(_), Some(slots)) = (outcome, &mut self.slots) {
            let _ = slots.confirm();
        }
    }
}

fn update<F: NorFlash>(
    slots: &mut ModelSlots<F>,
    request: &UpdateRequest<'_>,
) -> Result<UpdateResponse, UpdateRefusal> {
    match *request {
        UpdateRequest::Status => Ok(UpdateResponse::Status(slots.status())),
        UpdateRequest::Begin {
            metadata,
            signature,
        } => {
            let metadata = metadata.try_into().map_err(|_| UpdateRefusal::Metadata)?;
            let signature = signature.try_into();
            slots.begin(metadata, signature.map_err(|_| UpdateRefusal::Signature)?)?;
            Ok(UpdateResponse::Waiting(0))
        }
        UpdateRequest::Piece { offset, bytes } => {
            slots.write(offset, bytes).map(UpdateResponse::Waiting)
        }
        UpdateRequest::Finish => slots.finish().map(|_| UpdateResponse::Verified),
        UpdateRequest::Restart => Ok(UpdateResponse::Restarting),
    }
}

/// Whether `file` is a model that needs the arena that `metadata` tell, which
/// have been compared with what there is.
///
/// # Errors
/// If it cannot be opened, or needs another arena.
pub fn accept(file: &[u8], metadata: &Metadata<'_>) -> Result<(), UpdateRefusal> {
    let blob = Blob::open(file).map_err(|_| UpdateRefusal::Model)?;
    let options = PlanOptions::packed(blob.manifest());
    let plan = Plan::new(blob.manifest(), options).map_err(|_| UpdateRefusal::Model)?;
    if plan.arena_bytes() > metadata.arena_bytes {
        return Err(UpdateRefusal::Arena {
            needed: plan.arena_bytes(),
            available: metadata.arena_bytes,
        });
    }
    Ok(())
}
