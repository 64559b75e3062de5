//! Digests of logits: does a device compute what a host computes?

use briquette_engine::logits_digest;
use briquette_engine::text::sampler::most_likely;
use briquette_protocol::{Frames, Refusal, Response, StopReason};
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;

use super::{Device, Outcome, refusal, send};

impl<L: Read + ReadReady + Write, F: NorFlash> Device<'_, L, F> {
    /// Computes `ids` one after the other, tells a digest of each token's
    /// logits, and continues greedily.
    pub(super) fn score(
        &mut self,
        ids: &[u32],
        greedy: u32,
        frames: &mut Frames,
    ) -> Result<Outcome, L::Error> {
        self.session.truncate(0);
        let mut best = None;
        for id in ids {
            let position = self.session.position() as u32;
            let start = self.start();
            let logits = match self.session.decode(*id) {
                Ok(logits) => logits,
                Err(error) => return Ok(Err(refusal(error))),
            };
            let crc = logits_digest(logits);
            best = Some(most_likely(logits));
            self.spent.prefill += self.since(start, 1);
            send(&mut self.line, &Response::Digest { position, crc })?;
            if self.is_stopped(frames)? {
                return Ok(Ok(StopReason::Stopped));
            }
        }
        let Some(mut token) = best else {
            return Ok(Err(Refusal::Empty));
        };
        for left in (0..greedy).rev() {
            send(&mut self.line, &Response::Token(token))?;
            if left == 0 {
                break;
            }
            if self.is_stopped(frames)? {
                return Ok(Ok(StopReason::Stopped));
            }
            let start = self.start();
            token = match self.session.decode(token) {
                Ok(logits) => most_likely(logits),
                Err(error) => return Ok(Err(refusal(error))),
            };
            self.spent.decode += self.since(start, 1);
        }
        Ok(Ok(StopReason::Length))
    }
}
