//! Messages as bytes on a line.

use serde::{Deserialize, Serialize};

use super::{Message, VERSION};

/// Bytes of a frame at most, with its zero byte.
pub const MAX_FRAME: usize = 512;
/// Bytes of the checksum that ends a message.
const CHECKSUM: usize = 4;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FrameError {
    /// It is longer than [`MAX_FRAME`].
    #[error("the frame is longer than {MAX_FRAME} bytes")]
    TooLong,
    /// Its bytes are not stuffed as they should be, or it is cut.
    #[error("the frame is broken")]
    Broken,
    /// Its checksum is wrong.
    #[error("the frame's checksum is wrong")]
    Checksum,
    /// It holds no known message, or more than one.
    #[error("the frame holds no known message")]
    Unknown,
    /// The other side speaks this version of the protocol.
    #[error("the other side speaks version {0} of the protocol, this one version {VERSION}")]
    Version(u16),
}

/// Writes `message` into `out` as a frame; returns the frame.
///
/// # Errors
/// If it does not fit.
pub fn encode<'o>(
    message: &impl Serialize,
    out: &'o mut [u8; MAX_FRAME],
) -> Result<&'o [u8], FrameError> {
    let mut plain = [0; MAX_FRAME];
    let length = postcard::to_slice(message, &mut plain)
        .map_err(|_| FrameError::TooLong)?
        .len();
    let checksum = CRC.checksum(plain.get(..length).unwrap_or_default());
    let end = length + CHECKSUM;
    let place = plain.get_mut(length..end).ok_or(FrameError::TooLong)?;
    place.copy_from_slice(&checksum.to_le_bytes());
    let plain = plain.get(..end).ok_or(FrameError::TooLong)?;
    // One byte is left for the zero that ends the frame.
    let room = out.get_mut(..MAX_FRAME - 1).ok_or(FrameError::TooLong)?;
    let stuffed = cobs::try_encode(plain, room).map_err(|_| FrameError::TooLong)?;
    *out.get_mut(stuffed).ok_or(FrameError::TooLong)? = 0;
    out.get(..=stuffed).ok_or(FrameError::TooLong)
}

/// Collects bytes until a frame is complete.
///
/// ```
/// use briquette_protocol::{Frames, Request, encode, MAX_FRAME};
///
/// let mut line = [0; MAX_FRAME];
/// let mut frames = Frames::new();
/// for byte in encode(&Request::Hello, &mut line).unwrap() {
///     if let Some(message) = frames.push::<Request>(*byte) {
///         assert_eq!(message, Ok(Request::Hello));
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Frames {
    bytes: [u8; MAX_FRAME],
    length: usize,
    too_long: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Frames {
    /// Nothing collected yet.
    pub const fn new() -> Self {
        Self {
            bytes: [0; MAX_FRAME],
            length: 0,
            too_long: false,
        }
    }

    /// Takes a byte; returns the message, or what is wrong with it, when it
    /// ends a frame. Empty frames are skipped: a zero byte may be sent at any
    /// time to start over.
    pub fn push<'f, M: Message<'f>>(&'f mut self, byte: u8) -> Option<Result<M, FrameError>> {
        if byte != 0 {
            match self.bytes.get_mut(self.length) {
                Some(place) => *place = byte,
                None => self.too_long = true,
            }
            self.length = (self.length + 1).min(MAX_FRAME);
            return None;
        }
        let length = core::mem::take(&mut self.length);
        if core::mem::take(&mut self.too_long) {
            return Some(Err(FrameError::TooLong));
        }
        (length > 0).then(|| decode(self.bytes.get_mut(..length).unwrap_or_default()))
    }
}

/// Reads the message of a frame without its zero byte.
fn decode<'f, M: Message<'f>>(frame: &'f mut [u8]) -> Result<M, FrameError> {
    let length = cobs::decode_in_place(frame).map_err(|_| FrameError::Broken)?;
    let plain: &'f [u8] = frame.get(..length).ok_or(FrameError::Broken)?;
    let (message, checksum) = plain
        .split_last_chunk::<CHECKSUM>()
        .ok_or(FrameError::Broken)?;
    if CRC.checksum(message) != u32::from_le_bytes(*checksum) {
        return Err(FrameError::Checksum);
    }
    M::read(message)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::{Prompt, Request, Response};
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn prompt(text: &str) -> Request<'_> {
        Request::Prompt(Prompt {
            text,
            tokens: 40,
            thinking: None,
            guarantee: true,
            temperature: 0.5,
            seed: 7,
        })
    }

    /// All that a receiver makes of `bytes`: for each frame whether it held
    /// the expected message.
    fn receive(frames: &mut Frames, bytes: &[u8], expected: &Request<'_>) -> Vec<bool> {
        let mut received = Vec::new();
        for byte in bytes {
            if let Some(message) = frames.push::<Request<'_>>(*byte) {
                received.push(message.as_ref() == Ok(expected));
            }
        }
        received
    }

    #[test]
    fn a_prompt_too_long_for_a_frame_is_refused_by_the_sender() {
        let text = "x".repeat(MAX_FRAME);
        let mut buffer = [0; MAX_FRAME];
        let error = encode(&prompt(&text), &mut buffer);
        assert_eq!(error, Err(FrameError::TooLong));
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_the_next_frame_arrives() {
        let mut buffer = [0; MAX_FRAME];
        let message = prompt("pump 17 max 12 alarms ?");
        let frame = encode(&message, &mut buffer).unwrap().to_vec();
        for bit in 0..8 * frame.len() {
            let mut hurt = frame.clone();
            hurt[bit / 8] ^= 1 << (bit % 8);
            let mut frames = Frames::new();
            assert!(
                !receive(&mut frames, &hurt, &message).contains(&true),
                "bit {bit}"
            );
            // Cut or not: a zero byte starts over.
            receive(&mut frames, &[0], &message);
            assert_eq!(receive(&mut frames, &frame, &message), [true], "bit {bit}");
        }
    }

    /// A frame around any postcard data.
    fn frame_of(message: &impl Serialize) -> Vec<u8> {
        let mut buffer = [0; MAX_FRAME];
        encode(message, &mut buffer).unwrap().to_vec()
    }

    #[test]
    fn versions_meet_with_a_clear_error() {
        let mut frames = Frames::new();
        // A later version's Hello may say more.
        let mut heard = Vec::new();
        for byte in frame_of(&(0_u8, 7_u16, "more")) {
            if let Some(request) = frames.push::<Request<'_>>(byte) {
                heard.push(request == Ok(Request::Hello));
            }
        }
        assert_eq!(heard, [true]);
        let mut errors = Vec::new();
        for byte in frame_of(&(0_u8, VERSION + 1, "something else")) {
            errors.extend(frames.push::<Response<'_>>(byte).and_then(Result::err));
        }
        assert_eq!(errors, [FrameError::Version(VERSION + 1)]);
        let text = std::format!("{}", errors[0]);
        assert!(
            text.contains("version 2") && text.contains("version 1"),
            "{text}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]
        /// Random bytes, with pieces of a sound frame among them.
        #[test]
        fn garbage_never_panics_and_never_hides_what_follows(
            garbage in proptest::collection::vec(any::<u8>(), 0..80),
            cut in 0_usize..40,
            zeros in 0_usize..4,
        ) {
            let mut buffer = [0; MAX_FRAME];
            let message = prompt("tank 9 min 11 alarms ?");
            let frame = encode(&message, &mut buffer).unwrap();
            let mut bytes = garbage;
            bytes.extend_from_slice(&frame[cut.min(frame.len())..]);
            for place in 0..zeros.min(bytes.len()) {
                let at = place * 7 % bytes.len();
                bytes[at] = 0;
            }
            let mut frames = Frames::new();
            receive(&mut frames, &bytes, &message);
            receive(&mut frames, &[0], &message);
            prop_assert_eq!(receive(&mut frames, frame, &message), [true]);
        }
    }
}
