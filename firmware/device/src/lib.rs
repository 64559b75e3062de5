//! Serves a briquette over a serial line, in static memory.
//!
//! A board's firmware gives the file, an arena and a line; [`Device::serve`]
//! answers requests until the line fails. Nothing here allocates, and no bytes
//! on the line can stop it.

#![no_std]

mod answer;
mod score;

use briquette_engine::blob::Blob;
use briquette_engine::cpu::{Plan, PlanOptions};
use briquette_engine::text::Tokenizer;
use briquette_engine::{EngineError, Session};
use briquette_protocol::{
    Frames, Hello, MAX_FRAME, Refusal, Request, Response, Statistics, VERSION, encode,
};
use embedded_io::{Read, ReadReady, Write};

/// A model at the end of a line.
pub struct Device<'a, L> {
    session: Session<'a>,
    tokenizer: Option<Tokenizer<'a>>,
    line: L,
    firmware: &'static str,
}

/// The bytes of arena that a briquette needs as it was packed: what a build
/// script makes the static arena's size from.
///
/// # Errors
/// If the file is not a usable briquette.
pub fn arena_bytes(file: &[u8]) -> Result<u64, EngineError> {
    let blob = Blob::open(file)?;
    let options = PlanOptions::packed(blob.manifest());
    Ok(Plan::new(blob.manifest(), options)?.arena_bytes())
}

impl<'a, L: Read + ReadReady + Write> Device<'a, L> {
    /// Opens `file` in `arena`. `firmware` is the program's name and version.
    ///
    /// # Errors
    /// If the file is not a usable briquette or the arena is too small.
    pub fn new(
        file: &'a [u8],
        arena: &'a mut [u8],
        line: L,
        firmware: &'static str,
    ) -> Result<Self, EngineError> {
        let blob = Blob::open(file)?;
        let options = PlanOptions::packed(blob.manifest());
        let plan = Plan::new(blob.manifest(), options)?;
        Ok(Self {
            tokenizer: Tokenizer::new(blob.tokenizer_section()).ok(),
            session: Session::new(blob, &plan, arena)?,
            line,
            firmware,
        })
    }

    /// Answers requests until the line fails.
    ///
    /// # Errors
    /// What the line failed with.
    pub fn serve(&mut self) -> Result<(), L::Error> {
        let mut frames = Frames::new();
        loop {
            let mut byte = [0];
            if self.line.read(&mut byte)? == 0 {
                return Ok(());
            }
            match frames.push::<Request<'_>>(byte[0]) {
                None => {}
                Some(Ok(request)) => self.answer_request(&request)?,
                Some(Err(error)) => self.send(&Response::Refused(error.into()))?,
            }
        }
    }

    fn answer_request(&mut self, request: &Request<'_>) -> Result<(), L::Error> {
        match request {
            Request::Hello => self.hello(),
            Request::Prompt(prompt) => self.answer(prompt),
            Request::Score { ids, greedy } => self.score(ids, *greedy),
            Request::Statistics => self.statistics(),
            // Nothing is being answered.
            Request::Stop => Ok(()),
        }
    }

    fn hello(&mut self) -> Result<(), L::Error> {
        let manifest = self.session.blob().manifest();
        let mut digest = [0; 8];
        for (place, byte) in digest.iter_mut().zip(manifest.provenance.source_sha256) {
            *place = byte;
        }
        let name = manifest.provenance.name;
        let hello = Hello {
            protocol: VERSION,
            firmware: self.firmware,
            // A long name is cut, at a character.
            model: name
                .get(..name.floor_char_boundary(128))
                .unwrap_or_default(),
            digest,
            context: self.session.context() as u32,
            arena_bytes: self.session.arena_used(),
        };
        send(&mut self.line, &Response::Hello(hello))
    }

    fn statistics(&mut self) -> Result<(), L::Error> {
        let traffic = self.session.traffic();
        self.send(&Response::Statistics(Statistics {
            weight_bytes: traffic.weights,
            expert_bytes: traffic.experts,
            kv_bytes: traffic.kv,
            arena_used: self.session.arena_used(),
        }))
    }

    fn send(&mut self, response: &Response<'_>) -> Result<(), L::Error> {
        send(&mut self.line, response)
    }
}

/// Writes a response to the line.
fn send<L: Write>(line: &mut L, response: &Response<'_>) -> Result<(), L::Error> {
    let mut buffer = [0; MAX_FRAME];
    // All responses are shorter than a frame: texts are sent in pieces.
    if let Ok(frame) = encode(response, &mut buffer) {
        line.write_all(frame)?;
        line.flush()?;
    }
    Ok(())
}

/// What a failure of the engine means to the host.
fn refusal(error: EngineError) -> Refusal {
    match error {
        EngineError::ContextFull { .. } => Refusal::TooLong,
        EngineError::UnknownToken { .. } => Refusal::UnknownToken,
        EngineError::NoTokens => Refusal::Empty,
        _ => Refusal::Broken,
    }
}
