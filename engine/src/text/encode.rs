//! From text to ids, in the buffers given.

use core::ops::Range;

use super::added::Matching;
use super::merge::{self, merge_all};
use super::normalize;
use super::split::split;
use super::{Tokenizer, TokenizerError};

/// What to make of special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Put the tokenizer's own tokens before and after the text.
    pub add_special: bool,
    /// Read the names of special tokens in the text as these tokens. Leave
    /// this out for untrusted text, or see
    /// [`Tokenizer::encode_around`].
    pub parse_special: bool,
}

/// Buffers to work in. Their contents do not matter.
#[derive(Debug)]
pub struct Scratch<'s> {
    /// Symbols of the piece being merged.
    pub words: &'s mut [u32],
    /// Normalised text. May be empty if the tokenizer does not normalise.
    pub text: &'s mut [u8],
}

/// Sizes of buffers that are always enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuffersNeeded {
    /// Tokens of output.
    pub tokens: usize,
    /// Words of scratch.
    pub words: usize,
    /// Bytes of scratch text.
    pub text: usize,
}

/// Ids written so far.
struct Output<'o> {
    ids: &'o mut [u32],
    count: usize,
}

impl Output<'_> {
    fn push(&mut self, id: u32) -> Result<(), TokenizerError> {
        let capacity = self.ids.len();
        let place = self.ids.get_mut(self.count);
        *place.ok_or(TokenizerError::OutputFull { capacity })? = id;
        self.count += 1;
        Ok(())
    }
}

impl Tokenizer<'_> {
    /// Buffers that are enough for any text of `text_bytes` bytes. Less is
    /// often enough: words are needed for the longest piece between two
    /// splits, and one entry for each token of the text.
    pub fn buffers_needed(&self, text_bytes: usize) -> BuffersNeeded {
        let normalizes = self.normalizer().is_some();
        let longest = if normalizes {
            normalize::text_needed(text_bytes)
        } else {
            text_bytes
        };
        let around = self.prefix().count() + self.suffix().count();
        BuffersNeeded {
            tokens: longest.saturating_add(around),
            words: merge::words_needed(longest),
            text: if normalizes { longest } else { 0 },
        }
    }

    /// Writes the ids of `text` into `out` and returns how many there are: the
    /// same ids as from the tokenizer that this one was imported from.
    ///
    /// Bytes without a token become the unknown token, or nothing if the
    /// tokenizer has none.
    ///
    /// # Errors
    /// If a buffer is too small, see [`Tokenizer::buffers_needed`].
    pub fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
        out: &mut [u32],
        scratch: &mut Scratch,
    ) -> Result<usize, TokenizerError> {
        self.encode_around(text, &[], options, out, scratch)
    }

    /// As [`Self::encode`], where some of the text is untrusted, such as a
    /// person's message inside a template: in these ranges of bytes the names of special tokens are only text, whatever
    /// the options say. Otherwise it is one text.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_around(
        &self,
        text: &str,
        untrusted: &[Range<usize>],
        options: EncodeOptions,
        out: &mut [u32],
        scratch: &mut Scratch,
    ) -> Result<usize, TokenizerError> {
        let mut output = Output { ids: out, count: 0 };
        if options.add_special {
            self.prefix().try_for_each(|id| output.push(id))?;
        }
        let mut rest = text;
        loop {
            let matching = Matching {
                normalized: false,
                parse_special: options.parse_special,
                untrusted,
                offset: text.len() - rest.len(),
            };
            let found = self.added.cut(rest, &matching);
            let before = found.map_or(rest, |(before, ..)| before);
            self.encode_section(before, &matching, &mut output, scratch)?;
            let Some((_, id, after)) = found else { break };
            output.push(id)?;
            rest = after;
        }
        if options.add_special {
            self.suffix().try_for_each(|id| output.push(id))?;
        }
        Ok(output.count)
    }

    /// Text between two added tokens: normalised as a whole.
    fn encode_section(
        &self,
        text: &str,
        matching: &Matching,
        output: &mut Output,
        scratch: &mut Scratch,
    ) -> Result<(), TokenizerError> {
        let words = &mut *scratch.words;
        let matching = matching.in_normalized();
        match self.normalizer() {
            Some(normalizer) if !normalize::is_plain(text) => {
                let normalized = normalizer.normalize(text, words, scratch.text)?;
                // Normalising has moved the untrusted text.
                let matching = matching.without_special_beside_untrusted(text.len());
                self.encode_normalized(normalized, matching, output, words)
            }
            _ => self.encode_normalized(text, matching, output, words),
        }
    }

    fn encode_normalized(
        &self,
        text: &str,
        mut matching: Matching,
        output: &mut Output,
        words: &mut [u32],
    ) -> Result<(), TokenizerError> {
        let mut rest = text;
        while let Some((before, id, after)) = self.added.cut(rest, &matching) {
            self.encode_plain(before, output, words)?;
            output.push(id)?;
            matching.offset += rest.len() - after.len();
            rest = after;
        }
        self.encode_plain(rest, output, words)
    }

    /// Text without added tokens: split into pieces, each merged by itself.
    fn encode_plain(
        &self,
        text: &str,
        output: &mut Output,
        words: &mut [u32],
    ) -> Result<(), TokenizerError> {
        let step = |index| self.step(index);
        split(&step, 0, text, &mut |piece: &str| {
            self.encode_piece(piece.as_bytes(), output, words)
        })
    }

    fn encode_piece(
        &self,
        piece: &[u8],
        output: &mut Output,
        words: &mut [u32],
    ) -> Result<(), TokenizerError> {
        if self.ignores_merges()
            && let Some(id) = self.sorted_id_of(piece)
        {
            return output.push(id);
        }
        let needed = merge::words_needed(piece.len());
        let got = words.len();
        if got < needed {
            return Err(TokenizerError::NeedsWords { needed, got });
        }
        let known = piece
            .iter()
            .filter_map(|&byte| self.byte_id(byte).or(self.unknown()));
        let mut count = 0;
        for (place, id) in words.iter_mut().zip(known) {
            *place = id;
            count += 1;
        }
        let left = merge_all(words, count, |left, right| self.merge(left, right));
        words.iter().take(left).try_for_each(|&id| output.push(id))
    }
}
