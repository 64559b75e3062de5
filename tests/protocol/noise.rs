//! Requests and answers that are damaged on the way.

use briquette_protocol::{MAX_FRAME, Prompt, Request};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

/// Damaged requests.
pub struct Noise {
    pub rng: Xoshiro256PlusPlus,
    pub rounds: usize,
}

impl Noise {
    pub fn below(&mut self, limit: usize) -> usize {
        self.rng.next_u32() as usize % limit
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.rng.next_u32() as u8).collect()
    }

    pub fn next(&mut self) -> Vec<u8> {
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
            // A real request, damaged on the way.
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

    pub fn hurt(&mut self, bytes: &mut Vec<u8>) {
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
pub fn framed(message: &[u8]) -> Vec<u8> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(message);
    let plain = [message, &crc.to_le_bytes()].concat();
    let mut frame = vec![0; cobs::max_encoding_length(plain.len()) + 1];
    let length = cobs::encode(&plain, &mut frame);
    frame.truncate(length + 1);
    frame
}
