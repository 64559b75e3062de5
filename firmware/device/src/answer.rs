//! Answers to people.

use briquette_engine::blob::SingleTurn;
use briquette_engine::text::{
    EncodeOptions, Guide, GuideOptions, Part, Sampler, SamplerOptions, Scratch, Tag, TagStream,
    Tokenizer,
};
use briquette_protocol::{Frames, MAX_TEXT, Prompt, Refusal, Request, Response, StopReason};
use embedded_io::{Read, ReadReady, Write};

use super::{Device, refusal, send};

/// Tokens of a prompt at most, with what the chat template puts around it.
const MAX_PROMPT: usize = MAX_TEXT + 64;
/// Tokens of the largest vocabulary that can be sampled from; larger ones are
/// decoded greedily.
const MAX_SAMPLED: usize = 1024;
/// Bytes of text in one response.
const PIECE: usize = 256;

impl<L: Read + ReadReady + Write> Device<'_, L> {
    /// Answers `prompt`, piece by piece.
    pub(super) fn answer(&mut self, prompt: &Prompt<'_>) -> Result<(), L::Error> {
        match self.try_answer(prompt)? {
            Ok(reason) => self.send(&Response::Done(reason)),
            Err(refusal) => self.send(&Response::Refused(refusal)),
        }
    }

    fn try_answer(&mut self, prompt: &Prompt<'_>) -> Result<Result<StopReason, Refusal>, L::Error> {
        let Some(tokenizer) = self.tokenizer else {
            return Ok(Err(Refusal::NoTokenizer));
        };
        let mut ids = [0; MAX_PROMPT];
        let turn = self.session.blob().manifest().chat.single_turn;
        let ids = match encode_prompt(&tokenizer, turn, prompt.text, &mut ids) {
            Ok(ids) => ids,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let room = (self.session.context() + 1).saturating_sub(ids.len());
        let total = prompt.tokens.min(room as u32);
        let guide = GuideOptions {
            guarantee: prompt.guarantee,
            thinking: prompt.thinking.unwrap_or(u32::MAX),
            total,
            start: Part::Outside,
        };
        let guided = prompt.guarantee || prompt.thinking.is_some();
        let mut guide = match guided.then(|| Guide::new(tokenizer, guide)).transpose() {
            Ok(guide) => guide,
            Err(_) => return Ok(Err(Refusal::Form)),
        };
        let mut sampler = Sampler::new(SamplerOptions {
            temperature: prompt.temperature,
            seed: prompt.seed,
            ..SamplerOptions::default()
        });
        let mut order = [0; MAX_SAMPLED];
        let mut stream = TagStream::default();
        let mut frames = Frames::new();
        self.session.truncate(0);
        let mut input;
        let mut next: &[u32] = ids;
        for _ in 0..total {
            let logits = match self.session.prefill(next) {
                Ok(logits) => logits,
                Err(error) => return Ok(Err(refusal(error))),
            };
            if let Some(guide) = &guide {
                guide.constrain(logits);
            }
            let Ok(token) = sampler.sample(logits, &mut order, &[]) else {
                return Ok(Err(Refusal::Broken));
            };
            if tokenizer.is_stop(token) || tokenizer.eos() == Some(token) {
                return self.finish(&mut stream, StopReason::EndOfText);
            }
            let bytes = tokenizer.token_bytes(token);
            let is_tag = Tag::ALL.iter().any(|tag| tag.text().as_bytes() == bytes);
            if is_tag || !tokenizer.flags(token).special {
                self.show(|emit| stream.push(bytes, emit))?;
            }
            if let Some(guide) = &mut guide {
                guide.take(token);
                if guide.is_done() {
                    return self.finish(&mut stream, StopReason::EndOfText);
                }
            }
            if self.is_stopped(&mut frames)? {
                return self.finish(&mut stream, StopReason::Stopped);
            }
            if self.session.position() == self.session.context() {
                return self.finish(&mut stream, StopReason::ContextFull);
            }
            input = [token];
            next = &input;
        }
        self.finish(&mut stream, StopReason::Length)
    }

    fn finish(
        &mut self,
        stream: &mut TagStream,
        reason: StopReason,
    ) -> Result<Result<StopReason, Refusal>, L::Error> {
        self.show(|emit| stream.finish(emit))?;
        Ok(Ok(reason))
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

    /// Whether the host has said so meanwhile; whatever else it says is not
    /// listened to now.
    fn is_stopped(&mut self, frames: &mut Frames) -> Result<bool, L::Error> {
        let mut stopped = false;
        while self.line.read_ready()? {
            let mut byte = [0];
            if self.line.read(&mut byte)? == 0 {
                break;
            }
            let message = frames.push::<Request<'_>>(byte[0]);
            stopped |= matches!(message, Some(Ok(Request::Stop)));
        }
        Ok(stopped)
    }
}

/// The tokens of a prompt, with the chat template's text around it.
fn encode_prompt<'i>(
    tokenizer: &Tokenizer<'_>,
    turn: Option<SingleTurn<'_>>,
    text: &str,
    ids: &'i mut [u32; MAX_PROMPT],
) -> Result<&'i [u32], Refusal> {
    if text.len() > MAX_TEXT {
        return Err(Refusal::TooLong);
    }
    let mut whole = heapless::String::<{ 2 * MAX_TEXT }>::new();
    let around = turn.map_or(("", ""), |turn| (turn.prefix, turn.suffix));
    for part in [around.0, text.trim(), around.1] {
        whole.push_str(part).map_err(|_| Refusal::TooLong)?;
    }
    let mut words = [0; 5 * MAX_TEXT];
    let mut normalized = [0; 6 * MAX_TEXT];
    let mut scratch = Scratch {
        words: &mut words,
        text: &mut normalized,
    };
    let options = EncodeOptions {
        // The template writes these tokens itself.
        add_special: turn.is_none(),
        parse_special: true,
    };
    let count = tokenizer
        .encode(&whole, options, ids, &mut scratch)
        .map_err(|_| Refusal::TooLong)?;
    match ids.get(..count) {
        Some(ids) if !ids.is_empty() => Ok(ids),
        _ => Err(Refusal::Empty),
    }
}
