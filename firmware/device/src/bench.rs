//! Tokens of no meaning, to measure what tokens cost.

use briquette_protocol::{Frames, Refusal, Response, StopReason};
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;

use super::prompt::MAX_PROMPT;
use super::{Device, Outcome, refusal};

impl<L: Read + ReadReady + Write, F: NorFlash> Device<'_, L, F> {
    /// Takes in `prompt` tokens together, then `tokens` one after the other.
    pub(super) fn bench(
        &mut self,
        prompt: u32,
        tokens: u32,
        frames: &mut Frames,
    ) -> Result<Outcome, L::Error> {
        self.session.truncate(0);
        let vocab = self.session.blob().manifest().config.vocab_size.max(1);
        // As the host's bench chooses them: a spread of tokens chooses a
        // spread of experts.
        let token = |place: u32| place.wrapping_mul(2_654_435_761) % vocab;
        let mut ids = heapless::Vec::<u32, MAX_PROMPT>::new();
        for place in 0..prompt {
            if ids.push(token(place)).is_err() {
                return Ok(Err(Refusal::TooLong));
            }
        }
        if !ids.is_empty() {
            let start = self.start();
            if let Err(error) = self.session.prefill(&ids) {
                return Ok(Err(refusal(error)));
            }
            self.spent.prefill += self.since(start, ids.len());
        }
        for place in prompt..prompt.saturating_add(tokens) {
            let start = self.start();
            if let Err(error) = self.session.decode(token(place)) {
                return Ok(Err(refusal(error)));
            }
            self.spent.decode += self.since(start, 1);
            // The host sees progress.
            self.send(&Response::Token(token(place)))?;
            if self.is_stopped(frames)? {
                return Ok(Ok(StopReason::Stopped));
            }
        }
        Ok(Ok(StopReason::Length))
    }
}
