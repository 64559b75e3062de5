//! Sending a new model to a device.

use briquette_protocol::update::{
    MAX_PIECE, UpdateRefusal, UpdateRequest, UpdateResponse, UpdateStatus,
};
use briquette_protocol::{MAX_IDS, Refusal, Request, Response};

use super::client::{Client, send};
use super::{DeviceError, Line};
use crate::update::Update;

/// How often a piece is sent again if the line loses it.
const ATTEMPTS: u32 = 5;

impl Client {
    /// Which model runs, and how much room there is for another.
    ///
    /// # Errors
    /// If the line fails, or the device is silent or takes no updates.
    pub fn update_status(&mut self) -> Result<UpdateStatus, DeviceError> {
        self.ask(UpdateRequest::Status, |response| match response {
            UpdateResponse::Status(status) => Some(status),
            _ => None,
        })
    }

    /// Sends `update`, and lets the device verify it; `each` hears how many
    /// bytes have arrived. Whether it was sent to its end, and not
    /// `interrupted`.
    ///
    /// # Errors
    /// If the line fails, or the device is silent or refuses: then it goes on
    /// with the model that it has.
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
        let mut offset = self.ask(begin, waiting)?;
        let mut attempts = 0;
        while let Some(rest @ [_, ..]) = update.blob.get(offset as usize..) {
            if interrupted() {
                return Ok(false);
            }
            let bytes = &rest[..rest.len().min(MAX_PIECE)];
            match self.ask(UpdateRequest::Piece { offset, bytes }, waiting) {
                Ok(next) => {
                    attempts = 0;
                    offset = next;
                    each(u64::from(next));
                }
                Err(DeviceError::Refused(refusal)) if attempts < ATTEMPTS => {
                    attempts += 1;
                    match refusal {
                        // The answer to an earlier piece was lost.
                        Refusal::Update(UpdateRefusal::OutOfOrder { expected }) => {
                            offset = expected;
                        }
                        // The piece was hurt on its way.
                        Refusal::Frame(_) => {}
                        other => return Err(other.into()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.ask(UpdateRequest::Finish, |response| {
            (response == UpdateResponse::Verified).then_some(())
        })?;
        Ok(true)
    }

    /// Lets the device start anew; returns the line to it.
    ///
    /// # Errors
    /// If the line fails, or the device is silent or takes no updates.
    pub fn restart(mut self) -> Result<Line, DeviceError> {
        self.ask(UpdateRequest::Restart, |response| {
            (response == UpdateResponse::Restarting).then_some(())
        })?;
        Ok(self.into_line())
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

    /// Sends `request`; waits until `look` finds what it is for.
    fn ask<R>(
        &mut self,
        request: UpdateRequest<'_>,
        look: impl Fn(UpdateResponse) -> Option<R>,
    ) -> Result<R, DeviceError> {
        send(self.line_mut(), &Request::Update(request))?;
        loop {
            let heard = self.receive(&mut |_| Ok(()), |response| match response {
                Response::Update(response) => look(response).map(Ok),
                Response::Refused(refusal) => Some(Err(refusal)),
                _ => None,
            })?;
            if let Some(end) = heard {
                return Ok(end?);
            }
        }
    }
}

const fn waiting(response: UpdateResponse) -> Option<u32> {
    match response {
        UpdateResponse::Waiting(offset) => Some(offset),
        _ => None,
    }
}
