//! Serial drivers that behave as those of the boards do, at the end of a wire:
//! embassy-stm32 0.6.0 (`usart/buffered.rs`) and embassy-rp 0.10.0
//! (`uart/buffered.rs`). A device answers on all of them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use briquette_device::{End, Polled};
use briquette_protocol::{FrameError, Frames, MAX_FRAME, Refusal, Request, Response, encode};
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::line::{prompt, with_device_on};

/// What a receiver makes of the wire's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Character {
    Byte(u8),
    /// Nobody sends for a while.
    Pause,
    Broken(UartError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UartError {
    Framing,
    Break,
    Overrun,
}

impl fmt::Display for UartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for UartError {}

use Character::{Broken, Byte, Pause};

impl embedded_io::Error for UartError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The wire, and what the device has sent.
#[derive(Debug, Clone, Default)]
struct Wire(Rc<RefCell<(VecDeque<Character>, Vec<u8>)>>);

impl Wire {
    fn new(characters: impl IntoIterator<Item = Character>) -> Self {
        let wire = Self::default();
        wire.0.borrow_mut().0.extend(characters);
        wire
    }

    fn receive(&self) -> Option<Character> {
        self.0.borrow_mut().0.pop_front()
    }

    fn is_over(&self) -> bool {
        self.0.borrow().0.is_empty()
    }

    fn send(&self, bytes: &[u8]) -> usize {
        self.0.borrow_mut().1.extend_from_slice(bytes);
        bytes.len()
    }

    /// The responses that were sent; for the texts of an answer their number.
    fn said(&self) -> (Vec<String>, usize) {
        let mut frames = Frames::new();
        let (mut said, mut tokens) = (Vec::new(), 0);
        for byte in &self.0.borrow().1 {
            match frames.push::<Response<'_>>(*byte) {
                None => {}
                Some(Ok(Response::Token(_))) => tokens += 1,
                Some(Ok(Response::Hello(hello))) => {
                    said.push(format!("hello from {}", hello.target))
                }
                Some(Ok(Response::Statistics(_))) => said.push("statistics".into()),
                Some(response) => said.push(format!("{:?}", response.unwrap())),
            }
        }
        (said, tokens)
    }
}

fn bytes(request: &Request<'_>) -> Vec<Character> {
    let mut buffer = [0; MAX_FRAME];
    let frame = encode(request, &mut buffer).unwrap();
    frame.iter().map(|byte| Byte(*byte)).collect()
}

/// embassy-stm32: an interrupt puts bytes into a ring and only logs errors;
/// `read` takes what is there, and that may be nothing.
struct Stm32Uart {
    wire: Wire,
    ring: VecDeque<u8>,
}

impl Stm32Uart {
    fn interrupt(&mut self) {
        if let Some(Byte(byte)) = self.wire.receive() {
            self.ring.push_back(byte);
        }
    }
}

impl ErrorType for Stm32Uart {
    type Error = Infallible;
}

impl Read for Stm32Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let count = buffer.len().min(self.ring.len());
        buffer
            .iter_mut()
            .zip(self.ring.drain(..count))
            .for_each(|(place, byte)| *place = byte);
        Ok(count)
    }
}

impl ReadReady for Stm32Uart {
    /// At the end of the test the line ends, which the driver's never does.
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        let is_over = self.wire.is_over();
        self.interrupt();
        Ok(is_over || !self.ring.is_empty())
    }
}

impl Write for Stm32Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(self.wire.send(bytes))
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// embassy-rp: after an error the interrupts are off until somebody reads.
struct RpUart {
    wire: Wire,
    ring: VecDeque<u8>,
    error: Option<UartError>,
    is_deaf: bool,
}

impl RpUart {
    fn new(wire: Wire) -> Self {
        Self {
            wire,
            ring: VecDeque::new(),
            error: None,
            is_deaf: false,
        }
    }

    fn interrupt(&mut self) {
        while !self.is_deaf {
            match self.wire.receive() {
                Some(Byte(byte)) => self.ring.push_back(byte),
                Some(Broken(error)) => {
                    self.error = Some(error);
                    self.is_deaf = true;
                }
                Some(Pause) | None => return,
            }
        }
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> Poll<Result<usize, UartError>> {
        self.interrupt();
        let count = buffer.len().min(self.ring.len());
        buffer
            .iter_mut()
            .zip(self.ring.drain(..count))
            .for_each(|(place, byte)| *place = byte);
        let result = match (count, self.error.take_if(|_| count == 0)) {
            (0, Some(error)) => Err(error),
            // The end of the test.
            (0, None) if self.wire.is_over() => Ok(0),
            (0, None) => return Poll::Pending,
            _ => Ok(count),
        };
        self.is_deaf = false;
        Poll::Ready(result)
    }
}

impl ErrorType for RpUart {
    type Error = UartError;
}

impl Read for RpUart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UartError> {
        loop {
            if let Poll::Ready(read) = self.try_read(buffer) {
                return read;
            }
        }
    }
}

impl embedded_io_async::Read for RpUart {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UartError> {
        poll_fn(|_| self.try_read(buffer)).await
    }
}

impl ReadReady for RpUart {
    /// It knows of bytes only, and of the end of the test.
    fn read_ready(&mut self) -> Result<bool, UartError> {
        self.interrupt();
        Ok(!self.ring.is_empty() || (self.wire.is_over() && !self.is_deaf))
    }
}

impl Write for RpUart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, UartError> {
        Ok(self.wire.send(bytes))
    }

    fn flush(&mut self) -> Result<(), UartError> {
        Ok(())
    }
}

/// What a device says to `characters`, with each of the drivers.
fn said_on_every_driver(characters: &[Character]) -> [(Vec<String>, usize); 3] {
    let stm32 = Wire::new(characters.iter().copied());
    let line = Stm32Uart {
        wire: stm32.clone(),
        ring: VecDeque::new(),
    };
    with_device_on(line, |device| {
        assert_eq!(device.serve(), Ok(End::LineEnded))
    });
    let rp = Wire::new(characters.iter().copied());
    let line = RpUart::new(rp.clone());
    with_device_on(line, |device| {
        assert_eq!(device.serve(), Ok(End::LineEnded))
    });
    let polled = Wire::new(characters.iter().copied());
    let line = Polled::new(RpUart::new(polled.clone()));
    with_device_on(line, |device| {
        assert_eq!(device.serve(), Ok(End::LineEnded))
    });
    [stm32.said(), rp.said(), polled.said()]
}

#[test]
fn a_line_on_which_nothing_comes_yet_is_waited_for() {
    let mut characters = vec![Pause; 1000];
    for byte in bytes(&Request::Hello) {
        characters.extend([byte, Pause, Pause]);
    }
    characters.extend([Pause; 1000]);
    characters.extend(bytes(&Request::Statistics));
    for said in said_on_every_driver(&characters) {
        assert_eq!(said.0, ["hello from host", "statistics"]);
    }
}

#[test]
fn framing_errors_breaks_and_overruns_are_passed_over() {
    let errors = [UartError::Framing, UartError::Break, UartError::Overrun];
    let mut characters: Vec<_> = errors.map(Broken).into();
    for (request, error) in [Request::Hello, Request::Statistics]
        .into_iter()
        .zip(errors)
    {
        characters.extend(bytes(&request));
        characters.extend([Broken(error); 20]);
        // In the place of a byte.
        let mut hurt = bytes(&request);
        hurt[1] = Broken(error);
        characters.extend(hurt);
        characters.push(Pause);
    }
    characters.extend(bytes(&Request::Hello));
    let hurt = format!(
        "{:?}",
        Response::Refused(Refusal::Frame(FrameError::Broken))
    );
    for (said, _) in said_on_every_driver(&characters) {
        let expected = [
            "hello from host",
            &hurt,
            "statistics",
            &hurt,
            "hello from host",
        ];
        assert_eq!(said, expected);
    }
}

/// A Stop arrives after an error, during an answer of 25 tokens.
#[test]
fn a_receiver_that_is_deaf_after_an_error_hears_again_while_an_answer_is_computed() {
    let mut characters = bytes(&Request::Bench {
        prompt: 2,
        tokens: 25,
    });
    characters.extend([Pause, Broken(UartError::Overrun), Pause]);
    characters.extend(bytes(&Request::Stop));
    characters.extend([Pause; 10]);
    characters.extend(bytes(&Request::Statistics));
    let [stm32, _, polled] = said_on_every_driver(&characters);
    for (said, _) in [&stm32, &polled] {
        assert_eq!(said, &["Done(Stopped)", "statistics"]);
    }
    assert!(polled.1 < 5, "{} tokens", polled.1);
}

#[test]
fn requests_are_answered_between_all_kinds_of_noise() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
    let mut characters = Vec::new();
    for _ in 0..300 {
        for _ in 0..rng.next_u32() % 40 {
            characters.push(match rng.next_u32() % 6 {
                0 => Broken(UartError::Framing),
                1 => Broken(UartError::Break),
                2 => Broken(UartError::Overrun),
                3 => Pause,
                _ => Byte(rng.next_u32() as u8),
            });
        }
        // As a host begins a request.
        characters.push(Byte(0));
        characters.extend(bytes(&Request::Hello));
    }
    characters.extend(bytes(&prompt("The quick brown fox", 4)));
    for (said, _) in said_on_every_driver(&characters) {
        let hellos = said
            .iter()
            .filter(|said| *said == "hello from host")
            .count();
        assert_eq!(hellos, 300);
        assert_eq!(said.last().map(String::as_str), Some("Done(Length)"));
    }
}

/// A driver that has nothing but errors.
struct Dead;

impl ErrorType for Dead {
    type Error = UartError;
}

impl Read for Dead {
    fn read(&mut self, _: &mut [u8]) -> Result<usize, UartError> {
        Err(UartError::Overrun)
    }
}

impl ReadReady for Dead {
    fn read_ready(&mut self) -> Result<bool, UartError> {
        Err(UartError::Overrun)
    }
}

impl Write for Dead {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, UartError> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), UartError> {
        Ok(())
    }
}

#[test]
fn a_line_that_does_nothing_but_fail_is_given_up() {
    with_device_on(Dead, |device| {
        assert_eq!(device.serve(), Err(UartError::Overrun));
    });
}
