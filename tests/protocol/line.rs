//! A device at the end of a line in memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;

use briquette::pack::WeightFormat;
use briquette::run::Arena;
use briquette_device::{Board, Device, End, Stack};
use briquette_engine::quant::KvFormat;
use briquette_engine::{Plan, PlanOptions};
use briquette_protocol::{
    FrameError, Frames, Hello, MAX_FRAME, Memory, Prompt, Request, Response, VERSION, encode,
};
use briquette_tests::{Packed, repository};
use embedded_io::{ErrorType, Read, ReadReady, Write};

use crate::noise::Noise;

pub const BOARD: Board = Board {
    firmware: "test",
    target: "host",
    ticks: || 0,
    ticks_per_second: 0,
    stack: || Stack { peak: 0, bytes: 0 },
};

/// The host's end of a line in memory.
#[derive(Default)]
pub struct Host {
    /// Bytes that wait for the device.
    pub sent: VecDeque<u8>,
    /// Where more of them come from.
    pub source: Option<Noise>,
    /// Bytes that the device has sent.
    pub received: Vec<u8>,
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
pub struct Line(pub Rc<RefCell<Host>>);

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

/// A device with a small real model, at the end of a line in memory.
pub fn with_device(test: impl FnOnce(&mut Device<'_, Line>, &Line)) {
    let line = Line::default();
    with_device_on(line.clone(), |device| test(device, &line));
}

/// A device with a small real model, at the end of any line.
pub fn with_device_on<L: Read + ReadReady + Write>(line: L, test: impl FnOnce(&mut Device<'_, L>)) {
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
pub fn exchange(
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
pub fn ask(device: &mut Device<'_, Line>, line: &Line, request: &Request<'_>) -> Vec<String> {
    let mut buffer = [0; MAX_FRAME];
    let frame = encode(request, &mut buffer).unwrap();
    let mut said = Vec::new();
    exchange(device, line, frame, |response| {
        said.push(format!("{:?}", response.unwrap()));
    });
    said
}

pub fn prompt(text: &str, tokens: u32) -> Request<'_> {
    Request::Prompt(Prompt {
        text,
        tokens,
        thinking: None,
        guarantee: false,
        temperature: 0.0,
        seed: 0,
    })
}

pub fn hello() -> Hello<'static> {
    Hello {
        protocol: VERSION,
        firmware: "test 1.0",
        model: "none",
        digest: [1; 8],
        target: "host",
        memory: Memory::default(),
    }
}
