//! Text from tokens that may end in the middle of a character.

use core::str;

/// Assembles UTF-8 text from byte strings that may cut characters anywhere.
///
/// What is wrong in the bytes becomes U+FFFD exactly as in
/// `String::from_utf8_lossy` of all of them together.
///
/// ```
/// use briquette_engine::text::Utf8Stream;
///
/// let mut stream = Utf8Stream::new();
/// let mut text = String::new();
/// stream.push(b"caf\xC3", |part| text.push_str(part));
/// assert_eq!(text, "caf");
/// stream.push(b"\xA9", |part| text.push_str(part));
/// stream.finish(|part| text.push_str(part));
/// assert_eq!(text, "café");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Utf8Stream {
    /// The start of a character whose end has not come yet.
    held: [u8; 4],
    length: usize,
}

const REPLACEMENT: &str = "\u{FFFD}";

impl Utf8Stream {
    /// A stream that holds nothing back.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes more bytes, and calls `emit` with all the text that is certain.
    /// At most 3 bytes are held back.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&str)) {
        let mut rest = bytes;
        while self.length > 0 {
            let Some((&byte, after)) = rest.split_first() else {
                return;
            };
            if self.extend_held(byte, &mut emit) {
                rest = after;
            }
        }
        self.push_fresh(rest, emit);
    }

    /// Ends the text: a character that was begun and not ended becomes U+FFFD.
    pub fn finish(&mut self, mut emit: impl FnMut(&str)) {
        if self.length > 0 {
            emit(REPLACEMENT);
        }
        self.length = 0;
    }

    /// Number of bytes held back, 0 to 3.
    pub fn held_back(&self) -> usize {
        self.length
    }

    /// Tries to extend the held character; false if `byte` does not belong to it.
    fn extend_held(&mut self, byte: u8, emit: &mut impl FnMut(&str)) -> bool {
        let Some(place) = self.held.get_mut(self.length) else {
            self.length = 0;
            return false;
        };
        *place = byte;
        let candidate = self.held.get(..=self.length).unwrap_or_default();
        match str::from_utf8(candidate) {
            Ok(text) => {
                emit(text);
                self.length = 0;
                true
            }
            Err(error) if error.error_len().is_none() => {
                self.length += 1;
                true
            }
            Err(_) => {
                emit(REPLACEMENT);
                self.length = 0;
                false
            }
        }
    }

    fn push_fresh(&mut self, bytes: &[u8], mut emit: impl FnMut(&str)) {
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            if !chunk.valid().is_empty() {
                emit(chunk.valid());
            }
            let invalid = chunk.invalid();
            let unfinished = chunks.peek().is_none()
                && str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if unfinished {
                for (place, &byte) in self.held.iter_mut().zip(invalid) {
                    *place = byte;
                }
                self.length = invalid.len();
            } else if !invalid.is_empty() {
                emit(REPLACEMENT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn assemble(parts: &[&[u8]]) -> String {
        let mut stream = Utf8Stream::new();
        let mut text = String::new();
        for part in parts {
            stream.push(part, |piece| text.push_str(piece));
            assert!(stream.held_back() <= 3);
        }
        stream.finish(|piece| text.push_str(piece));
        text
    }

    #[test]
    fn every_cut_of_every_sample_reads_like_the_lossy_whole() {
        let samples: [&[u8]; 8] = [
            "naïve — 日本語 🙂🏽 end".as_bytes(),
            b"\xF0\x9F\x99 \xF0\x9F\x99",
            b"\xE6\x97\xE6\x97\xA5\xC3\xC3\xA9",
            b"\xFF\xFE\x80\x80abc\xC0\xAF",
            b"\xED\xA0\x80 surrogate \xF4\x90\x80\x80",
            b"\xF0\x9F\xF0\x9F\x99\x82\xE2\x82",
            b"\xE0\x80\x80\xF8\x88\x80\x80\x80",
            b"",
        ];
        for sample in samples {
            let expected = String::from_utf8_lossy(sample);
            for first in 0..=sample.len() {
                for second in first..=sample.len() {
                    let parts = [&sample[..first], &sample[first..second], &sample[second..]];
                    assert_eq!(assemble(&parts), expected);
                }
            }
            let bytes: Vec<&[u8]> = sample.chunks(1).collect();
            assert_eq!(assemble(&bytes), expected);
        }
    }
}
