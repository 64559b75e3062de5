//! Sending a new model to a device.

use std::time::Duration;

use briquette_protocol::update::{
    MAX_PIECE, Origin, UpdateRefusal, UpdateRequest, UpdateResponse, UpdateStatus,
};
use briquette_protocol::{MAX_IDS, Refusal, Request, Response};

use super::client::{ATTEMPTS, Client, send};
use super::{DeviceError, Line};
use crate::device::signed::Update;

/// When to repeat a request that the device answers at once, or as soon as it has
/// erased a sector.
const PIECE: Duration = Duration::from_secs(1);
/// When to repeat a request that makes it verify or erase something first.
const WORK: Duration = Duration::from_secs(5);

impl Client {
    /// Which model runs, and how much room there is for another.
    ///
    /// # Errors
    /// If the line fails, or the device is silent or takes no updates.
    pub fn update_status(&mut self) -> Result<UpdateStatus, DeviceError> {
        self.ask_update(UpdateRequest::Status, PIECE, |response| match response {
            UpdateResponse::Status(status) => Some(status),
            _ => None,
        })
    }

    /// Sends `update`, and lets the device verify it; `each` is told how many
    /// bytes have arrived. Returns whether it was sent to its end, and not
    /// `interrupted`.
    ///
    /// # Errors
    /// If the line fails, or the device is silent or refuses: then it keeps
    /// the model that it has.
    pub fn upload(
        &mut self,
        update: &Update,
        interrupted: &dyn Fn() -> bool,
        mut each: impl FnMut(u64),
    ) -> Result<bool, DeviceError> {
        let begin = UpdateRequest::Begin {
            metadata: &update.metadata,
            signature: &update.signature,
        };
        let mut offset = self.ask_update(begin, WORK, |response| match response {
            UpdateResponse::Waiting(offset) => Some(offset),
            _ => None,
        })?;
        let mut setbacks = 0;
        while let Some(rest @ [_, ..]) = update.blob.get(offset as usize..) {
            if interrupted() {
                return Ok(false);
            }
            let next = self.send_piece(offset, &rest[..rest.len().min(MAX_PIECE)])?;
            setbacks = if next > offset { 0 } else { setbacks + 1 };
            if setbacks > ATTEMPTS {
                let refusal = UpdateRefusal::OutOfOrder { expected: next };
                return Err(Refusal::Update(refusal).into());
            }
            offset = next;
            each(u64::from(next));
        }
        self.ask_update(UpdateRequest::Finish, WORK, |response| {
            (response == UpdateResponse::Verified).then_some(())
        })?;
        Ok(true)
    }

    /// Sends a piece until the device has it; returns where it waits for the next.
    /// Answers to copies of earlier pieces, which say that it waits for this one,
    /// are skipped.
    fn send_piece(&mut self, offset: u32, bytes: &[u8]) -> Result<u32, DeviceError> {
        let end = offset + bytes.len() as u32;
        let request = Request::Update(UpdateRequest::Piece { offset, bytes });
        self.ask(&request, PIECE, |response| match response {
            Response::Update(UpdateResponse::Waiting(next)) if next == end => Some(Ok(next)),
            Response::Refused(Refusal::Update(UpdateRefusal::OutOfOrder { expected })) => {
                (expected != offset).then_some(Ok(expected))
            }
            Response::Refused(refusal) => Some(Err(refusal)),
            _ => None,
        })
    }

    /// Restarts the device; returns the line to it.
    ///
    /// # Errors
    /// If the line fails, or the device is silent or takes no updates.
    pub fn restart(mut self) -> Result<Line, DeviceError> {
        for _ in 0..=ATTEMPTS {
            if self.is_restarting()? {
                return Ok(self.into_line());
            }
            // Either the request was lost or the answer to it. A new model that
            // runs already must not be started again: it would count as failed.
            if self.update_status()?.origin == Origin::Trial {
                return Ok(self.into_line());
            }
        }
        Err(DeviceError::Silent {
            port: self.line_mut().port().to_owned(),
            patience: PIECE * (ATTEMPTS + 1),
        })
    }

    /// Asks the device once to restart; returns whether it says that it does.
    fn is_restarting(&mut self) -> Result<bool, DeviceError> {
        send(self.line_mut(), &Request::Update(UpdateRequest::Restart))?;
        loop {
            let received = self.receive(PIECE, &mut |_| Ok(()), |response| match response {
                Response::Update(UpdateResponse::Restarting) => Some(Ok(true)),
                Response::Refused(Refusal::Frame(_)) => None,
                Response::Refused(refusal) => Some(Err(refusal)),
                _ => None,
            });
            match received {
                Ok(Some(answer)) => return Ok(answer?),
                Ok(None) => {}
                Err(DeviceError::Silent { .. } | DeviceError::Damaged { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets the device compute `ids`, at most [`MAX_IDS`]; returns the CRC-32 of
    /// the logits after each.
    ///
    /// # Errors
    /// If the line fails, or the device is silent or refuses.
    pub fn score(&mut self, ids: &[u32]) -> Result<Vec<u32>, DeviceError> {
        let ids = &ids[..ids.len().min(MAX_IDS)];
        let request = Request::Score {
            ids: heapless::Vec::from_slice(ids).unwrap_or_default(),
            greedy: 0,
        };
        let mut digests = Vec::new();
        self.work(&request, &|| false, |response| {
            if let Response::Digest { crc, .. } = response {
                digests.push(crc);
            }
        })?;
        Ok(digests)
    }

    /// Sends `request` until `look` finds the answer, or the device refuses.
    fn ask_update<R>(
        &mut self,
        request: UpdateRequest<'_>,
        again: Duration,
        look: impl Fn(UpdateResponse) -> Option<R>,
    ) -> Result<R, DeviceError> {
        self.ask(
            &Request::Update(request),
            again,
            |response| match response {
                Response::Update(response) => look(response).map(Ok),
                Response::Refused(refusal) => Some(Err(refusal)),
                _ => None,
            },
        )
    }
}
