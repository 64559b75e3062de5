//! Serves a briquette over a serial line, in static memory.
//!
//! A board's firmware gives the file, an arena, a line and what it knows about
//! itself; [`Device::serve`] answers requests as long as the line lives. Nothing
//! here allocates, and neither bytes nor errors on the line can stop it.

#![no_std]
#![forbid(unsafe_code)]

mod answer;
mod bench;
mod line;
mod log;
mod meter;
mod polled;
mod prompt;
mod score;
mod update;

use briquette_engine::blob::Blob;
use briquette_engine::cpu::Serial;
use briquette_engine::storage::{BlockStorage, load};
use briquette_engine::text::Tokenizer;
use briquette_engine::{EngineError, Isa, Plan, PlanOptions, Session};
use briquette_protocol::{
    Frames, Hello, MAX_FRAME, Memory, Refusal, Request, Response, Statistics, StopReason, VERSION,
    encode,
};
use briquette_updates::ModelSlots;
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;

use meter::Spent;

pub use polled::Polled;
pub use update::{FORMATS, NoFlash, accept};

/// What a board knows about itself.
#[derive(Debug, Clone, Copy)]
pub struct Board {
    /// The firmware's name and version.
    pub firmware: &'static str,
    /// The target profile that it is built for.
    pub target: &'static str,
    /// Ticks of a monotonic clock.
    pub ticks: fn() -> u64,
    /// Ticks per second; 0 without a clock.
    pub ticks_per_second: u32,
    /// Measures the stack.
    pub stack: fn() -> Stack,
}

/// The use of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// Bytes used at most since the start.
    pub peak: u32,
    /// Bytes reserved.
    pub bytes: u32,
}

/// A model at the end of a line; updates of it go to a flash of type `F`.
pub struct Device<'a, L, F = NoFlash> {
    session: Session<'a>,
    tokenizer: Option<Tokenizer<'a>>,
    line: L,
    board: Board,
    memory: Memory,
    spent: Spent,
    slots: Option<ModelSlots<F>>,
    /// Errors of the line since the last byte.
    failures: u32,
}

/// Why a device serves no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The line has ended: it has something to read, and that is no byte.
    LineEnded,
    /// The host wants the board to restart.
    Restart,
}

/// Why an answer ended, or why there is none.
type Outcome = Result<StopReason, Refusal>;

impl<'a, L: Read + ReadReady + Write> Device<'a, L> {
    /// Opens `file` in `arena`.
    ///
    /// # Errors
    /// If the file is not a usable briquette or the arena is too small.
    pub fn new(
        file: &'a [u8],
        arena: &'a mut [u8],
        line: L,
        board: Board,
    ) -> Result<Self, EngineError> {
        let blob = Blob::open(file)?;
        let options = PlanOptions::packed(blob.manifest());
        let plan = Plan::new(blob.manifest(), options)?;
        let session = Session::new(blob, &plan, arena)?;
        Ok(Self::with_session(session, &plan, 0, line, board))
    }

    /// Opens the briquette in `storage`, which is not mapped: all but its experts
    /// is loaded into the front of `memory`, and of these `expert_slots` are kept
    /// in the rest.
    ///
    /// # Errors
    /// If the storage fails or holds no usable briquette, or the memory is too
    /// small.
    pub fn from_storage(
        storage: &'a mut dyn BlockStorage,
        expert_slots: u32,
        memory: &'a mut [u8],
        line: L,
        board: Board,
    ) -> Result<Self, EngineError> {
        let (blob, arena) = load(storage, memory)?;
        let options = PlanOptions {
            expert_slots,
            ..PlanOptions::packed(blob.manifest())
        };
        let plan = Plan::new(blob.manifest(), options)?;
        let resident = blob.loaded_bytes();
        let isa = Isa::detect();
        let session = Session::with_storage(blob, storage, &plan, arena, Serial, isa)?;
        Ok(Self::with_session(session, &plan, resident, line, board))
    }

    fn with_session(
        session: Session<'a>,
        plan: &Plan,
        loaded_bytes: u64,
        line: L,
        board: Board,
    ) -> Self {
        Self {
            tokenizer: Tokenizer::new(session.blob().tokenizer_section()).ok(),
            line,
            board,
            memory: Memory {
                context: plan.options.context,
                batch: plan.options.batch,
                arena_bytes: plan.arena_bytes(),
                scratch_bytes: plan.scratch_bytes(),
                kv_bytes: plan.kv_bytes(),
                flash_bytes: session.blob().file_bytes(),
                loaded_bytes,
                expert_slots: plan.expert_slots() as u32,
            },
            session,
            spent: Spent::default(),
            slots: None,
            failures: 0,
        }
    }

    /// The same device; new models go to `slots`, if there are any.
    pub fn with_updates<F: NorFlash>(self, slots: Option<ModelSlots<F>>) -> Device<'a, L, F> {
        Device {
            session: self.session,
            tokenizer: self.tokenizer,
            line: self.line,
            board: self.board,
            memory: self.memory,
            spent: self.spent,
            slots,
            failures: self.failures,
        }
    }
}

impl<L: Read + ReadReady + Write, F: NorFlash> Device<'_, L, F> {
    /// Answers requests until the line ends, or the host wants the board to
    /// restart. Framing errors, breaks and overruns are skipped: what they damage
    /// is a frame, whose checksum tells.
    ///
    /// # Errors
    /// What the line failed with if it takes no bytes, or does nothing but fail.
    pub fn serve(&mut self) -> Result<End, L::Error> {
        log::info!(
            "{=str} serves {=str}: context {=u32}, arena {=u64} bytes, stack {=u32} bytes",
            self.board.firmware,
            self.session.blob().manifest().provenance.name,
            self.memory.context,
            self.memory.arena_bytes,
            (self.board.stack)().bytes,
        );
        let mut frames = Frames::new();
        loop {
            let Some(byte) = self.await_byte()? else {
                return Ok(End::LineEnded);
            };
            let Some(request) = frames.push::<Request<'_>>(byte) else {
                continue;
            };
            // What a request borrows from `frames` is used up before the
            // answer, which listens for the next frame.
            match request {
                Err(error) => self.send(&Response::Refused(error.into()))?,
                Ok(Request::Hello) => self.hello()?,
                Ok(Request::Statistics) => self.statistics()?,
                // Nothing is being answered.
                Ok(Request::Stop) => {}
                Ok(Request::Prompt(prompt)) => {
                    log::info!("a prompt of {=usize} bytes", prompt.text.len());
                    let task = self.task(&prompt);
                    let outcome = self.answer(task, &mut frames)?;
                    self.confirm(outcome);
                    self.end(outcome)?;
                }
                Ok(Request::Bench { prompt, tokens }) => {
                    log::info!("a benchmark of {=u32} and {=u32} tokens", prompt, tokens);
                    let outcome = self.bench(prompt, tokens, &mut frames)?;
                    self.end(outcome)?;
                }
                Ok(Request::Score { ids, greedy }) => {
                    log::info!("{=usize} tokens to score", ids.len());
                    let outcome = self.score(&ids, greedy, &mut frames)?;
                    self.confirm(outcome);
                    self.end(outcome)?;
                }
                Ok(Request::Update(request)) => {
                    if self.update(&request)? {
                        return Ok(End::Restart);
                    }
                }
            }
        }
    }

    fn hello(&mut self) -> Result<(), L::Error> {
        let manifest = self.session.blob().manifest();
        let mut digest = [0; 8];
        for (place, byte) in digest.iter_mut().zip(manifest.provenance.source_sha256) {
            *place = byte;
        }
        let hello = Hello {
            protocol: VERSION,
            firmware: cut(self.board.firmware),
            model: cut(manifest.provenance.name),
            digest,
            target: cut(self.board.target),
            memory: self.memory,
        };
        send(&mut self.line, &Response::Hello(hello))
    }

    fn statistics(&mut self) -> Result<(), L::Error> {
        let stack = (self.board.stack)();
        self.send(&Response::Statistics(Statistics {
            prefill: self.spent.prefill,
            decode: self.spent.decode,
            ticks_per_second: self.board.ticks_per_second,
            arena_used: self.session.arena_used(),
            stack_peak: stack.peak,
            stack_bytes: stack.bytes,
        }))
    }

    /// Whether the host wants the answer to stop. It may ask who this is
    /// meanwhile; everything else has to wait for its turn.
    fn is_stopped(&mut self, frames: &mut Frames) -> Result<bool, L::Error> {
        // Not more than a frame at a time: whoever sends without end must not
        // keep the answer from going on.
        for _ in 0..MAX_FRAME {
            let Some(byte) = self.waiting_byte()? else {
                break;
            };
            match frames.push::<Request<'_>>(byte) {
                None => {}
                Some(Ok(Request::Stop)) => return Ok(true),
                Some(Ok(Request::Hello)) => self.hello()?,
                Some(Ok(_)) => self.send(&Response::Refused(Refusal::Busy))?,
                Some(Err(error)) => self.send(&Response::Refused(error.into()))?,
            }
        }
        Ok(false)
    }

    /// Ends an answer.
    fn end(&mut self, outcome: Outcome) -> Result<(), L::Error> {
        match outcome {
            Ok(reason) => self.send(&Response::Done(reason)),
            Err(refusal) => self.send(&Response::Refused(refusal)),
        }
    }

    fn send(&mut self, response: &Response<'_>) -> Result<(), L::Error> {
        send(&mut self.line, response)
    }
}

/// Bytes of a name in a Hello.
const MAX_NAME: usize = 96;

/// A name short enough for a frame, cut at a character.
fn cut(name: &str) -> &str {
    let end = name.floor_char_boundary(MAX_NAME);
    name.get(..end).unwrap_or_default()
}

/// Writes a response to the line.
fn send<L: Write>(line: &mut L, response: &Response<'_>) -> Result<(), L::Error> {
    let mut buffer = [0; MAX_FRAME];
    if let Response::Refused(reason) = response {
        log::warning!("refused: {}", reason);
    }
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
        EngineError::Storage { .. } => Refusal::Storage,
        _ => Refusal::Broken,
    }
}
