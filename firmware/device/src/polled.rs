//! Lines whose drivers cannot be asked without waiting.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_io::{ErrorType, Read, ReadReady, Write};

/// A line that is read by polling its asynchronous driver: so it can be asked
/// for a byte or an error without waiting for one.
///
/// The driver of embassy-rp needs it. After a framing error, a break or an
/// overrun it receives nothing more until it is read; its `read_ready` only
/// knows of bytes, and its blocking `read` would wait for one. Its asynchronous
/// `read`, polled once, gives the error if there is one and switches the
/// receiver on again.
///
/// Dropping a `read` of the driver before it is done must lose nothing, which
/// embassy's drivers promise.
#[derive(Debug)]
pub struct Polled<T: ErrorType> {
    driver: T,
    /// What the driver has given and has not been read yet; no byte at the line's end.
    given: Option<Result<Option<u8>, T::Error>>,
}

impl<T: embedded_io_async::Read> Polled<T> {
    /// The line of `driver`.
    pub const fn new(driver: T) -> Self {
        Self {
            driver,
            given: None,
        }
    }

    /// Looks once for a byte, an error or the end.
    fn poll(&mut self) -> Option<Result<Option<u8>, T::Error>> {
        if let Some(given) = self.given.take() {
            return Some(given);
        }
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = pin!(self.driver.read(&mut byte)).poll(&mut context);
        match read {
            Poll::Pending => None,
            Poll::Ready(read) => Some(read.map(|count| (count > 0).then_some(byte[0]))),
        }
    }
}

impl<T: ErrorType> ErrorType for Polled<T> {
    type Error = T::Error;
}

impl<T: embedded_io_async::Read> ReadReady for Polled<T> {
    fn read_ready(&mut self) -> Result<bool, T::Error> {
        self.given = self.poll();
        Ok(self.given.is_some())
    }
}

impl<T: embedded_io_async::Read> Read for Polled<T> {
    /// Waits for one byte, or for the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        let Some(place) = buffer.first_mut() else {
            return Ok(0);
        };
        loop {
            let Some(given) = self.poll() else {
                continue;
            };
            return Ok(match given? {
                Some(byte) => {
                    *place = byte;
                    1
                }
                None => 0,
            });
        }
    }
}

impl<T: Write> Write for Polled<T> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        self.driver.write(bytes)
    }

    fn flush(&mut self) -> Result<(), T::Error> {
        self.driver.flush()
    }
}
