//! Who may be at the other end of a line: a device in this process, a puppet that
//! says what a test wants it to say, and a line that others speak on too.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Instant;

use briquette::run::{Arena, BriqFile};
use briquette_device::{Board, Device, Stack};
use briquette_engine::{Plan, PlanOptions};
use briquette_protocol::{
    Frames, Hello, MAX_FRAME, Memory, Part, Request, Response, Statistics, VERSION, encode,
};
use embedded_io::{ErrorType, ReadReady};

/// The device's end of a line.
struct Line<W> {
    input: Receiver<u8>,
    waiting: VecDeque<u8>,
    output: W,
}

impl<W: Write> Line<W> {
    fn new(mut input: impl Read + Send + 'static, output: W) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut byte = [0];
            loop {
                match input.read(&mut byte) {
                    Ok(1) if sender.send(byte[0]).is_ok() => {}
                    Err(error) if error.kind() == ErrorKind::TimedOut => {}
                    _ => return,
                }
            }
        });
        Self {
            input: receiver,
            waiting: VecDeque::new(),
            output,
        }
    }
}

impl<W> ErrorType for Line<W> {
    type Error = embedded_io::ErrorKind;
}

impl<W> ReadReady for Line<W> {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        match self.input.try_recv() {
            Ok(byte) => self.waiting.push_back(byte),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(embedded_io::ErrorKind::BrokenPipe),
        }
        Ok(!self.waiting.is_empty())
    }
}

impl<W> embedded_io::Read for Line<W> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let byte = self.waiting.pop_front().or_else(|| self.input.recv().ok());
        let Some(byte) = byte else { return Ok(0) };
        buffer[0] = byte;
        Ok(1)
    }
}

impl<W: Write> embedded_io::Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let written = self.output.write_all(bytes);
        written.map_err(|_| embedded_io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.output
            .flush()
            .map_err(|_| embedded_io::ErrorKind::BrokenPipe)
    }
}

/// What a board does, here.
pub fn serve(model: &str, input: impl Read + Send + 'static, output: impl Write) {
    let file = BriqFile::open(Path::new(model)).unwrap();
    let blob = file.blob().unwrap();
    let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest())).unwrap();
    let mut arena = Arena::for_plan(&plan).unwrap();
    let board = Board {
        firmware: "test 1.0",
        target: "thread",
        ticks: || {
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            START.get_or_init(Instant::now).elapsed().as_nanos() as u64
        },
        ticks_per_second: 1_000_000_000,
        stack: || Stack { peak: 0, bytes: 0 },
    };
    let line = Line::new(input, output);
    let mut device = Device::new(blob.bytes(), arena.bytes_mut(), line, board).unwrap();
    // It ends when the host hangs up.
    let _ = device.serve();
}

/// A device that says what a test wants it to say.
pub struct Puppet {
    /// Its end of the line.
    pub stream: UnixStream,
    frames: Frames,
}

impl Puppet {
    /// Says a Hello when it is asked.
    pub fn greet(stream: UnixStream) -> Self {
        let mut puppet = Self {
            stream,
            frames: Frames::new(),
        };
        puppet.await_request(|request| matches!(request, Request::Hello));
        puppet.say(&Response::Hello(hello()));
        puppet
    }

    /// Answers the question about statistics before a prompt, then hears the
    /// prompt.
    pub fn hear_prompt(stream: UnixStream) -> Self {
        let mut puppet = Self::greet(stream);
        puppet.await_request(|request| matches!(request, Request::Statistics));
        puppet.say(&Response::Statistics(Statistics::default()));
        puppet.await_request(|request| matches!(request, Request::Prompt(_)));
        puppet
    }

    /// Hears requests until there is a wanted one.
    pub fn await_request(&mut self, wanted: impl Fn(&Request<'_>) -> bool) {
        let mut byte = [0];
        while self.stream.read(&mut byte).unwrap() == 1 {
            if let Some(Ok(request)) = self.frames.push::<Request<'_>>(byte[0])
                && wanted(&request)
            {
                return;
            }
        }
        panic!("the host hung up");
    }

    /// Says anything.
    pub fn say(&mut self, response: &Response<'_>) {
        let mut buffer = [0; MAX_FRAME];
        let frame = encode(response, &mut buffer).unwrap();
        self.stream.write_all(frame).unwrap();
    }

    /// Says a piece of an answer.
    pub fn say_text(&mut self, text: &str) {
        self.say(&Response::Text {
            part: Part::Answer,
            bytes: text.as_bytes(),
        });
    }

    /// Says nothing more, until the host hangs up.
    pub fn sleep(mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
    }
}

fn hello() -> Hello<'static> {
    Hello {
        protocol: VERSION,
        firmware: "puppet 1.0",
        model: "none",
        digest: [7; 8],
        target: "puppet",
        memory: Memory::default(),
    }
}

/// A line on which somebody says `AT` between frames.
pub struct Disturbed {
    stream: UnixStream,
    zeros: usize,
    waiting: VecDeque<u8>,
}

impl Disturbed {
    /// The device's end of `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            zeros: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl Read for Disturbed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(byte) = self.waiting.pop_front() {
            buffer[0] = byte;
            return Ok(1);
        }
        let count = self.stream.read(&mut buffer[..1])?;
        if buffer[0] == 0 {
            self.zeros += 1;
            // A frame ends with every second one.
            if self.zeros.is_multiple_of(2) {
                self.waiting.extend(*b"AT\r");
            }
        }
        Ok(count)
    }
}
