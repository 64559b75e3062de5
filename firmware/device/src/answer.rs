//! Answers to people.

use briquette_engine::text::{Guide, Part, TagStream};
use briquette_protocol::{Frames, Refusal, Response, StopReason};
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;

use super::prompt::{MAX_SAMPLED, Task};
use super::{Device, Outcome, refusal, send};

/// Bytes of text in one response.
const PIECE: usize = 256;

impl<'a, L: Read + ReadReady + Write, F: NorFlash> Device<'a, L, F> {
    /// Answers `task`, piece by piece.
    pub(super) fn answer(
        &mut self,
        task: Result<Task<'a>, Refusal>,
        frames: &mut Frames,
    ) -> Result<Outcome, L::Error> {
        let mut task = match task {
            Ok(task) => task,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut stream = TagStream::new(task.part, task.tags);
        let outcome = self.write(&mut task, &mut stream, frames)?;
        if outcome.is_ok() {
            self.show(|emit| stream.finish(emit))?;
        }
        Ok(outcome)
    }

    /// Writes an answer's tokens into `stream`, and what is certain of them to
    /// the line.
    fn write(
        &mut self,
        task: &mut Task<'a>,
        stream: &mut TagStream,
        frames: &mut Frames,
    ) -> Result<Outcome, L::Error> {
        self.session.truncate(0);
        let tokenizer = task.tokenizer;
        let mut token = match self.next_token(task, None) {
            Ok(token) => token,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for left in (0..task.tokens).rev() {
            if task.stops.contains(token) {
                return Ok(Ok(StopReason::EndOfText));
            }
            if let Some(bytes) = tokenizer.shown_bytes(token) {
                self.show(|emit| stream.push_token(token, bytes, emit))?;
            }
            if task.guide.as_ref().is_some_and(Guide::is_done) {
                return Ok(Ok(StopReason::EndOfText));
            }
            if self.is_stopped(frames)? {
                return Ok(Ok(StopReason::Stopped));
            }
            if self.session.position() == self.session.context() {
                return Ok(Ok(StopReason::ContextFull));
            }
            if left > 0 {
                token = match self.next_token(task, Some(token)) {
                    Ok(token) => token,
                    Err(refusal) => return Ok(Err(refusal)),
                };
            }
        }
        Ok(Ok(StopReason::Length))
    }

    /// Takes in `last`, or the whole prompt, and chooses what follows.
    fn next_token(&mut self, task: &mut Task<'a>, last: Option<u32>) -> Result<u32, Refusal> {
        let start = self.start();
        let last = last.as_slice();
        let tokens = if last.is_empty() { &task.ids } else { last };
        let logits = self.session.prefill(tokens).map_err(refusal)?;
        if let Some(guide) = &task.guide {
            guide.constrain(logits);
        }
        let mut order = [0; MAX_SAMPLED];
        let token = task.sampler.sample(logits, &mut order, &[]);
        let token = token.map_err(|_| Refusal::Broken)?;
        if let Some(guide) = &mut task.guide {
            guide.take(token);
        }
        let work = self.since(start, tokens.len());
        if last.is_empty() {
            self.spent.prefill += work;
        } else {
            self.spent.decode += work;
        }
        Ok(token)
    }

    /// Sends what `pieces` emits.
    fn show(&mut self, pieces: impl FnOnce(&mut dyn FnMut(Part, &[u8]))) -> Result<(), L::Error> {
        let mut sent = Ok(());
        pieces(&mut |part, bytes| {
            let part = match part {
                Part::Thinking => briquette_protocol::Part::Thinking,
                Part::Answer | Part::Outside => briquette_protocol::Part::Answer,
            };
            for bytes in bytes.chunks(PIECE) {
                if sent.is_ok() {
                    sent = send(&mut self.line, &Response::Text { part, bytes });
                }
            }
        });
        sent
    }
}
