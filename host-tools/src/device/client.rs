//! A conversation with a device, frame by frame.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use briquette_protocol::{
    FrameError, Frames, Hello, MAX_FRAME, MAX_TEXT, Memory, Part, Prompt, Refusal, Request,
    Response, Statistics, StopReason, encode,
};

use super::{DeviceError, Line};

/// How long a device may be silent, or not accept bytes.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Before it has identified itself.
    pub hello: Duration,
    /// While it works on a request.
    pub work: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(5),
            work: Duration::from_secs(60),
        }
    }
}

/// A device that may still be starting is asked again after this time.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(1000);
/// How often a request is sent again that the line may have lost.
pub(super) const ATTEMPTS: u32 = 5;
/// How long the answer to a request may take when the device says that some frame
/// was damaged: it may have been another one.
const AFTER_DAMAGE: Duration = Duration::from_millis(200);

/// A device's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Version of the protocol.
    pub protocol: u16,
    /// The firmware's name and version.
    pub firmware: String,
    /// The target profile that it was built for.
    pub target: String,
    /// The model's name.
    pub model: String,
    /// The first bytes of the SHA-256 of the model's checkpoint.
    pub digest: [u8; 8],
    /// What the model takes.
    pub memory: Memory,
}

impl From<Hello<'_>> for DeviceInfo {
    fn from(hello: Hello<'_>) -> Self {
        Self {
            protocol: hello.protocol,
            firmware: hello.firmware.to_owned(),
            target: hello.target.to_owned(),
            model: hello.model.to_owned(),
            digest: hello.digest,
            memory: hello.memory,
        }
    }
}

/// A device that has identified itself.
#[derive(Debug)]
pub struct Client {
    receiver: Receiver,
    pub(super) patience: Patience,
    info: DeviceInfo,
}

/// What the bytes that have arrived say.
enum Received<R> {
    /// What was made of a response.
    Response(R),
    /// A broken frame.
    Broken(FrameError),
    /// Nothing whole yet.
    Nothing,
}

impl Client {
    /// Asks the device at the end of `line` to identify itself. It stops whatever
    /// it was doing for another program.
    ///
    /// # Errors
    /// If it is silent, no Briquette device, or of another version.
    pub fn connect(line: Line, patience: Patience) -> Result<Self, DeviceError> {
        let mut receiver = Receiver {
            line,
            frames: Frames::new(),
            waiting: VecDeque::new(),
            bytes: 0,
        };
        receiver.line.set_patience(patience.hello);
        let start = Instant::now();
        let mut asked: Option<Instant> = None;
        while start.elapsed() < patience.hello {
            if asked.is_none_or(|time| time.elapsed() > ASK_AGAIN) {
                send(&mut receiver.line, &Request::Stop)?;
                send(&mut receiver.line, &Request::Hello)?;
                asked = Some(Instant::now());
            }
            receiver.listen()?;
            let hello = |response: Response<'_>| match response {
                Response::Hello(hello) => Some(DeviceInfo::from(hello)),
                _ => None,
            };
            match receiver.next(hello) {
                Received::Response(Some(info)) => {
                    receiver.let_finish(patience.hello.saturating_sub(start.elapsed()))?;
                    receiver.line.set_patience(patience.work);
                    return Ok(Self {
                        receiver,
                        patience,
                        info,
                    });
                }
                Received::Broken(FrameError::Version(theirs)) => {
                    return Err(DeviceError::Version { theirs });
                }
                // The rest of an answer to another program, or noise.
                Received::Response(None) | Received::Broken(_) | Received::Nothing => {}
            }
        }
        let port = receiver.line.port().to_owned();
        Err(match receiver.bytes {
            0 => DeviceError::Silent {
                port,
                patience: patience.hello,
            },
            bytes => DeviceError::Gibberish { port, bytes },
        })
    }

    /// The device's identity.
    pub const fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// The line to the device.
    pub(super) const fn line_mut(&mut self) -> &mut Line {
        &mut self.receiver.line
    }

    /// The line to the device.
    pub(super) fn into_line(self) -> Line {
        self.receiver.line
    }

    /// What the device has spent since it started.
    ///
    /// # Errors
    /// If the line fails or the device is silent.
    pub fn statistics(&mut self) -> Result<Statistics, DeviceError> {
        self.ask(&Request::Statistics, ASK_AGAIN, |response| match response {
            Response::Statistics(statistics) => Some(Ok(statistics)),
            _ => None,
        })
    }

    /// Lets the device answer `prompt`. Its text goes to `emit` as it comes, in
    /// bytes that may cut a character; when `interrupted`, the device is told
    /// to stop.
    ///
    /// # Errors
    /// If the line fails, or the device is silent or refuses.
    pub fn answer(
        &mut self,
        prompt: &Prompt<'_>,
        interrupted: &dyn Fn() -> bool,
        mut emit: impl FnMut(Part, &[u8]),
    ) -> Result<StopReason, DeviceError> {
        if prompt.text.len() > MAX_TEXT {
            return Err(DeviceError::LongPrompt {
                bytes: prompt.text.len(),
                most: MAX_TEXT,
            });
        }
        self.work(&Request::Prompt(*prompt), interrupted, |response| {
            if let Response::Text { part, bytes } = response {
                emit(part, bytes);
            }
        })
    }

    /// Lets the device prefill `prompt` meaningless tokens together, then
    /// `tokens` one after the other; `each` is called after each of these.
    ///
    /// # Errors
    /// If the line fails, or the device is silent or refuses.
    pub fn bench(
        &mut self,
        prompt: u32,
        tokens: u32,
        interrupted: &dyn Fn() -> bool,
        mut each: impl FnMut(),
    ) -> Result<StopReason, DeviceError> {
        let request = Request::Bench { prompt, tokens };
        self.work(&request, interrupted, |response| {
            if matches!(response, Response::Token(_)) {
                each();
            }
        })
    }

    /// Sends a request that may be sent twice, until `look` finds the answer: once
    /// more whenever there is none for as long as `again`, or a frame is damaged.
    pub(super) fn ask<R>(
        &mut self,
        request: &Request<'_>,
        again: Duration,
        mut look: impl FnMut(Response<'_>) -> Option<Result<R, Refusal>>,
    ) -> Result<R, DeviceError> {
        let patience = self.patience.work;
        let again = again.min(patience / (ATTEMPTS + 1));
        let start = Instant::now();
        let mut attempts = 0;
        loop {
            send(&mut self.receiver.line, request)?;
            attempts += 1;
            let is_last = attempts > ATTEMPTS;
            let rest = patience.saturating_sub(start.elapsed());
            match self.answer_within(if is_last { rest } else { again }, &mut look) {
                Err(DeviceError::Silent { port, .. }) if is_last => {
                    return Err(DeviceError::Silent { port, patience });
                }
                Err(DeviceError::Silent { .. } | DeviceError::Damaged { .. }) if !is_last => {}
                answer => return answer,
            }
        }
    }

    fn answer_within<R>(
        &mut self,
        within: Duration,
        look: &mut impl FnMut(Response<'_>) -> Option<Result<R, Refusal>>,
    ) -> Result<R, DeviceError> {
        let mut deadline = Instant::now() + within;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let received = self.receive(rest, &mut |_| Ok(()), |response| match response {
                Response::Refused(Refusal::Frame(_)) => Err(()),
                response => Ok(look(response)),
            })?;
            match received {
                Ok(Some(answer)) => return Ok(answer?),
                Ok(None) => {}
                Err(()) => deadline = deadline.min(Instant::now() + AFTER_DAMAGE),
            }
        }
    }

    /// What `look` makes of the next response; does `meanwhile` while waiting for
    /// it as long as `within`.
    pub(super) fn receive<R>(
        &mut self,
        within: Duration,
        meanwhile: &mut dyn FnMut(&mut Line) -> Result<(), DeviceError>,
        look: impl FnOnce(Response<'_>) -> R,
    ) -> Result<R, DeviceError> {
        let start = Instant::now();
        let mut look = Some(look);
        loop {
            let received = self
                .receiver
                .next(|response| look.take().map(|look| look(response)));
            match received {
                Received::Response(Some(result)) => return Ok(result),
                Received::Response(None) | Received::Nothing => {}
                Received::Broken(FrameError::Version(theirs)) => {
                    return Err(DeviceError::Version { theirs });
                }
                Received::Broken(source) => {
                    let port = self.receiver.line.port().to_owned();
                    return Err(DeviceError::Damaged { port, source });
                }
            }
            if start.elapsed() > within {
                return Err(DeviceError::Silent {
                    port: self.receiver.line.port().to_owned(),
                    patience: self.patience.work,
                });
            }
            meanwhile(&mut self.receiver.line)?;
            self.receiver.listen()?;
        }
    }
}

/// A line, and what has arrived on it.
#[derive(Debug)]
struct Receiver {
    line: Line,
    frames: Frames,
    /// Bytes that have arrived and were not read yet.
    waiting: VecDeque<u8>,
    /// All bytes that have arrived so far.
    bytes: u64,
}

impl Receiver {
    /// Reads what arrives within a moment; returns the number of bytes.
    fn listen(&mut self) -> Result<usize, DeviceError> {
        let mut buffer = [0; MAX_FRAME];
        let count = self.line.read(&mut buffer)?;
        self.waiting.extend(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    /// The next frame among the bytes that have arrived.
    fn next<R>(&mut self, look: impl FnOnce(Response<'_>) -> R) -> Received<R> {
        while let Some(byte) = self.waiting.pop_front() {
            match self.frames.push::<Response<'_>>(byte) {
                Some(Ok(response)) => return Received::Response(look(response)),
                Some(Err(error)) => return Received::Broken(error),
                None => {}
            }
        }
        Received::Nothing
    }

    /// Skips the answers to earlier requests.
    fn let_finish(&mut self, patience: Duration) -> Result<(), DeviceError> {
        let start = Instant::now();
        while self.listen()? > 0 && start.elapsed() < patience {}
        self.waiting.clear();
        self.frames = Frames::new();
        Ok(())
    }
}

/// Sends `request` after a zero byte, which ends whatever another program, noise
/// or a lost byte has left on the line.
pub(super) fn send(line: &mut Line, request: &Request<'_>) -> Result<(), DeviceError> {
    let mut buffer = [0; MAX_FRAME];
    // Requests that are too long for a frame were refused before.
    match encode(request, &mut buffer) {
        Ok(frame) => line.write(&[&[0], frame].concat()),
        Err(source) => Err(DeviceError::Damaged {
            port: line.port().to_owned(),
            source,
        }),
    }
}
