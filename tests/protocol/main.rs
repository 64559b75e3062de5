//! Whatever arrives on its line, a device neither hangs nor falls over, and
//! answers afterwards as before; nor does a host.

#![cfg(unix)]

mod drivers;
mod losses;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use briquette::device::{Client, Patience};
use briquette::pack::WeightFormat;
use briquette::run::Arena;
use briquette_device::{Board, Device, End, Stack};
use briquette_engine::cpu::{Plan, PlanOptions};
use briquette_engine::quant::KvFormat;
use briquette_protocol::{
    FrameError, Frames, Hello, MAX_FRAME, Memory, Part, Prompt, Refusal, Request, Response,
    StopReason, VERSION, encode,
};
use briquette_tests::{Packed, repository};
use embedded_io::{ErrorType, Read, ReadReady, Write};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Frames that are sent.
const ROUNDS: usize = 100_000;

const BOARD: Board = Board {
    firmware: "test",
    target: "host",
    ticks: || 0,
    ticks_per_second: 0,
    stack: || Stack { peak: 0, bytes: 0 },
};

/// The host's end of a line in memory.
#[derive(Default)]
struct Host {
    /// Bytes that wait for the device.
    sent: VecDeque<u8>,
    /// Where more of them come from.
    source: Option<Noise>,
    /// Bytes that the device has sent.
    received: Vec<u8>,
}

impl Host {
    /// Whether nothing more will come: then there is the line's end to be read.
    fn is_over(&self) -> bool {
        let source = self.source.as_ref();
        self.sent.is_empty() && source.is_none_or(|noise| noise.rounds == 0)
    }

    fn fill(&mut self) {
        if let Some(source) = &mut self.source {
            while self.sent.is_empty() && source.rounds > 0 {
                self.sent.extend(source.next());
            }
        }
    }
}

/// The device's end.
#[derive(Clone, Default)]
struct Line(Rc<RefCell<Host>>);

impl ErrorType for Line {
    type Error = Infallible;
}

impl ReadReady for Line {
    /// Most of the time the next frame comes while the last is answered.
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        let mut host = self.0.borrow_mut();
        if host.sent.is_empty() && host.source.as_mut().is_some_and(|noise| noise.below(4) > 0) {
            host.fill();
        }
        Ok(!host.sent.is_empty() || host.is_over())
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut host = self.0.borrow_mut();
        host.fill();
        let (Some(place), Some(byte)) = (buffer.first_mut(), host.sent.pop_front()) else {
            return Ok(0);
        };
        *place = byte;
        Ok(1)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow_mut().received.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Requests that have been hurt.
struct Noise {
    rng: Xoshiro256PlusPlus,
    rounds: usize,
}

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.rng.next_u32() as usize % limit
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.rng.next_u32() as u8).collect()
    }

    fn next(&mut self) -> Vec<u8> {
        self.rounds -= 1;
        match self.below(16) {
            // No frame at all.
            0 => self.bytes(40),
            // A frame of nothing in particular.
            1 => {
                let message = self.bytes(60);
                framed(&message)
            }
            // Longer than any frame may be.
            2 if self.rounds.is_multiple_of(8) => vec![1 + self.below(255) as u8; 2 * MAX_FRAME],
            // A real request, hurt on the way.
            3..14 => {
                let mut frame = framed(&self.request());
                self.hurt(&mut frame);
                frame
            }
            // One that was wrong when its checksum was computed.
            _ => {
                let mut message = self.request();
                self.hurt(&mut message);
                framed(&message)
            }
        }
    }

    /// A request's bytes before they are framed.
    fn request(&mut self) -> Vec<u8> {
        const TEXTS: [&str; 4] = [
            "",
            "fan 9 max 8 alarms ?",
            "näïve 😀 <think>",
            "a b c d e f g",
        ];
        let text = TEXTS[self.below(TEXTS.len())];
        let request = match self.below(8) {
            0 => Request::Hello,
            1 => Request::Stop,
            2 => Request::Statistics,
            3 => Request::Bench {
                prompt: self.below(20) as u32,
                tokens: self.below(20) as u32,
            },
            4 => Request::Score {
                ids: (0..self.below(6)).map(|_| self.below(400) as u32).collect(),
                greedy: self.below(6) as u32,
            },
            _ => Request::Prompt(Prompt {
                text,
                tokens: self.below(10) as u32,
                thinking: (self.below(2) == 0).then_some(3),
                guarantee: self.below(2) == 0,
                temperature: [0.0, 0.7, f32::NAN, -1.0, f32::INFINITY][self.below(5)],
                seed: 1,
            }),
        };
        postcard::to_stdvec(&request).unwrap()
    }

    fn hurt(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(5) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.rng.next_u32() as u8,
            2 => bytes.truncate(at),
            3 => {
                let more = self.bytes(9);
                bytes.splice(at..at, more);
            }
            _ => {
                bytes.remove(at);
            }
        }
    }
}

/// A sound frame around any bytes.
fn framed(message: &[u8]) -> Vec<u8> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(message);
    let plain = [message, &crc.to_le_bytes()].concat();
    let mut frame = vec![0; cobs::max_encoding_length(plain.len()) + 1];
    let length = cobs::encode(&plain, &mut frame);
    frame.truncate(length + 1);
    frame
}

/// A device with a small real model, at the end of a line in memory.
fn with_device(test: impl FnOnce(&mut Device<'_, Line>, &Line)) {
    let line = Line::default();
    with_device_on(line.clone(), |device| test(device, &line));
}

/// A device with a small real model, at the end of any line.
fn with_device_on<L: Read + ReadReady + Write>(line: L, test: impl FnOnce(&mut Device<'_, L>)) {
    let source = repository().join("tests/golden/tiny-v3");
    let packed = Packed::with_context(&source, WeightFormat::Q4, KvFormat::Q8, 32);
    let blob = packed.file.blob().unwrap();
    let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest())).unwrap();
    let mut arena = Arena::for_plan(&plan).unwrap();
    let memory = &mut arena.bytes_mut()[..plan.arena_bytes() as usize];
    let mut device = Device::new(blob.bytes(), memory, line, BOARD).unwrap();
    test(&mut device);
}

/// Sends `bytes` and hands each response to `look`.
fn exchange(
    device: &mut Device<'_, Line>,
    line: &Line,
    bytes: &[u8],
    mut look: impl FnMut(Result<Response<'_>, FrameError>),
) {
    line.0.borrow_mut().sent.extend(bytes);
    assert_eq!(device.serve(), Ok(End::LineEnded));
    let received = std::mem::take(&mut line.0.borrow_mut().received);
    let mut frames = Frames::new();
    for byte in received {
        if let Some(response) = frames.push::<Response<'_>>(byte) {
            look(response);
        }
    }
}

/// What the device says to `request`, as text.
fn ask(device: &mut Device<'_, Line>, line: &Line, request: &Request<'_>) -> Vec<String> {
    let mut buffer = [0; MAX_FRAME];
    let frame = encode(request, &mut buffer).unwrap();
    let mut said = Vec::new();
    exchange(device, line, frame, |response| {
        said.push(format!("{:?}", response.unwrap()));
    });
    said
}

fn prompt(text: &str, tokens: u32) -> Request<'_> {
    Request::Prompt(Prompt {
        text,
        tokens,
        thinking: None,
        guarantee: false,
        temperature: 0.0,
        seed: 0,
    })
}

#[test]
fn a_hundred_thousand_hurt_requests_leave_a_device_as_it_was() {
    with_device(|device, line| {
        let before = ask(device, line, &prompt("The quick brown fox", 12));
        assert!(before.len() > 2, "{before:?}");
        line.0.borrow_mut().source = Some(Noise {
            rng: Xoshiro256PlusPlus::seed_from_u64(11),
            rounds: ROUNDS,
        });
        let (mut responses, mut done, mut refused) = (0, 0, 0);
        exchange(device, line, &[], |response| {
            responses += 1;
            match response.expect("a device speaks in sound frames, whatever it hears") {
                Response::Done(_) => done += 1,
                Response::Refused(_) => refused += 1,
                _ => {}
            }
        });
        line.0.borrow_mut().source = None;
        println!("{ROUNDS} frames: {responses} responses, {done} answers, {refused} refusals");
        // The noise reaches everything: answers, and each way to say no.
        assert!(done > 1000 && refused > 10_000);
        assert_eq!(
            ask(device, line, &prompt("The quick brown fox", 12)),
            before
        );
    });
}

/// A device's side of a talk, hurt on the way: the host ends it in good time,
/// with an answer or an error.
#[test]
fn a_host_never_hangs_on_a_noisy_line() {
    let mut noise = Noise {
        rng: Xoshiro256PlusPlus::seed_from_u64(3),
        rounds: 0,
    };
    let patience = Patience {
        hello: Duration::from_millis(200),
        work: Duration::from_millis(200),
    };
    let (mut connected, mut answered) = (0, 0);
    for _ in 0..120 {
        let mut talk = said_by_a_device();
        if noise.below(3) > 0 {
            for _ in 0..=noise.below(3) {
                noise.hurt(&mut talk);
            }
        }
        let (host, mut device) = UnixStream::pair().unwrap();
        device.write_all(&talk).unwrap();
        let start = Instant::now();
        let line = briquette::device::Line::from_unix(host, "test".into()).unwrap();
        if let Ok(mut client) = Client::connect(line, patience) {
            connected += 1;
            device.write_all(&talk).unwrap();
            let Request::Prompt(prompt) = prompt("hello", 4) else {
                unreachable!();
            };
            let stop = client.answer(&prompt, &|| false, |_, _| {});
            answered += usize::from(matches!(stop, Ok(StopReason::Length)));
        }
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    println!("120 noisy lines: {connected} connections, {answered} answers");
    assert!(connected > 30 && (30..120).contains(&answered));
}

fn hello() -> Hello<'static> {
    Hello {
        protocol: VERSION,
        firmware: "test 1.0",
        model: "none",
        digest: [1; 8],
        target: "host",
        memory: Memory::default(),
    }
}

/// A Hello and an answer.
fn said_by_a_device() -> Vec<u8> {
    let text = Response::Text {
        part: Part::Answer,
        bytes: "naïve".as_bytes(),
    };
    let done = Response::Done(StopReason::Length);
    let mut buffer = [0; MAX_FRAME];
    let mut bytes = Vec::new();
    for response in [Response::Hello(hello()), text.clone(), text, done] {
        bytes.extend_from_slice(encode(&response, &mut buffer).unwrap());
    }
    bytes
}

#[test]
fn requests_that_cannot_be_served_are_refused_with_a_reason() {
    with_device(|device, line| {
        let long = "x".repeat(400);
        let many = "word ".repeat(40);
        let unknown = heapless::Vec::from_slice(&[u32::MAX]).unwrap();
        for (request, refusal) in [
            (prompt(&long, 4), Refusal::TooLong),
            (prompt(&many, 4), Refusal::TooLong),
            (prompt("hello", 0), Refusal::Empty),
            (
                Request::Score {
                    ids: heapless::Vec::new(),
                    greedy: 3,
                },
                Refusal::Empty,
            ),
            (
                Request::Score {
                    ids: unknown,
                    greedy: 3,
                },
                Refusal::UnknownToken,
            ),
            (
                Request::Bench {
                    prompt: u32::MAX,
                    tokens: u32::MAX,
                },
                Refusal::TooLong,
            ),
        ] {
            let said = ask(device, line, &request);
            let expected = format!("{:?}", Response::Refused(refusal));
            assert_eq!(said.last(), Some(&expected), "{request:?}");
        }
    });
}

#[test]
fn an_answer_can_be_stopped_and_others_have_to_wait() {
    with_device(|device, line| {
        let mut buffer = [0; MAX_FRAME];
        let mut bytes = Vec::new();
        let bench = Request::Bench {
            prompt: 2,
            tokens: 1_000,
        };
        for request in [bench, Request::Hello, Request::Statistics, Request::Stop] {
            bytes.extend_from_slice(encode(&request, &mut buffer).unwrap());
        }
        // In the same breath: nothing of it may be lost.
        bytes.extend_from_slice(encode(&Request::Statistics, &mut buffer).unwrap());
        let mut said = Vec::new();
        exchange(device, line, &bytes, |response| match response.unwrap() {
            Response::Token(_) => {}
            Response::Hello(hello) => said.push(format!("hello from {}", hello.target)),
            Response::Refused(refusal) => said.push(format!("{refusal:?}")),
            Response::Done(reason) => said.push(format!("{reason:?}")),
            Response::Statistics(statistics) => {
                assert!(statistics.decode.tokens < 30);
                said.push("statistics".into());
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(said, ["hello from host", "Busy", "Stopped", "statistics"]);
    });
}
