//! Added tokens: texts that are found before anything else is split.

use core::ops::Range;

use super::section::{ADDED_NORMALIZED, ADDED_SPECIAL, Column, Section};

/// The added tokens of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddedTokens<'a> {
    entries: Column<'a>,
    texts: &'a [u8],
    starts: Starts,
}

/// The first bytes of all added tokens, at most [`Starts::LONGEST`] of each, as
/// a Bloom filter: it tells whether a token may start here without looking at
/// thousands of them.
#[derive(Debug, Clone, Copy)]
struct Starts {
    bits: [u32; 16],
    /// One bit for each byte that a token starts with.
    first_bytes: [u32; 8],
    /// Bit `n` stands for a start of `n + 1` bytes.
    lengths: u8,
}

impl Starts {
    /// Enough bytes to tell `<|reserved` from `<|im_end`, and both from `<<<<`.
    const LONGEST: usize = 8;

    const EMPTY: Self = Self {
        bits: [0; 16],
        first_bytes: [0; 8],
        lengths: 0,
    };

    fn insert(&mut self, token: &[u8]) {
        let start = token.get(..Self::LONGEST).unwrap_or(token);
        let Some((first, hash)) = start.first().zip(Hashes::of(start).last()) else {
            return;
        };
        set(&mut self.first_bytes, u32::from(*first));
        set(&mut self.bits, Self::bit(hash));
        self.lengths |= 1 << (start.len() - 1);
    }

    /// Whether a token may be at the start of `text`; false is certain.
    fn may_start(&self, text: &[u8]) -> bool {
        let starts = |first: &u8| is_set(&self.first_bytes, u32::from(*first));
        if !text.first().is_some_and(starts) {
            return false;
        }
        let start = text.get(..Self::LONGEST).unwrap_or(text);
        let mut hashes = Hashes::of(start).enumerate();
        hashes
            .any(|(at, hash)| self.lengths & (1 << at) != 0 && is_set(&self.bits, Self::bit(hash)))
    }

    /// The bit of a hash: its upper bits are the well mixed ones.
    const fn bit(hash: u32) -> u32 {
        hash >> 23
    }
}

fn set(bits: &mut [u32], bit: u32) {
    if let Some(word) = bits.get_mut((bit / 32) as usize) {
        *word |= 1 << (bit % 32);
    }
}

fn is_set(bits: &[u32], bit: u32) -> bool {
    let word = bits.get((bit / 32) as usize);
    word.is_some_and(|word| word & (1 << (bit % 32)) != 0)
}

/// Hashes of a text's first byte, first two bytes, and so on: FNV-1a, mixed once
/// more since only the upper bits are used.
struct Hashes<'t> {
    bytes: core::slice::Iter<'t, u8>,
    state: u32,
}

impl<'t> Hashes<'t> {
    fn of(text: &'t [u8]) -> Self {
        Self {
            bytes: text.iter(),
            state: 0x811C_9DC5,
        }
    }
}

impl Iterator for Hashes<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let byte = *self.bytes.next()?;
        self.state = (self.state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        Some(self.state.wrapping_mul(0x9E37_79B1))
    }
}

/// Which added tokens count, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matching<'r> {
    /// Those that are matched in normalised text, or the others.
    pub(super) normalized: bool,
    /// Special ones too.
    pub(super) parse_special: bool,
    /// Untrusted ranges, in bytes of the whole text: special tokens are text there.
    pub(super) untrusted: &'r [Range<usize>],
    /// Where in the whole text the text to be cut begins.
    pub(super) offset: usize,
}

impl Matching<'_> {
    /// The same for tokens that are matched in normalised text.
    pub(super) const fn in_normalized(mut self) -> Self {
        self.normalized = true;
        self
    }

    /// The same for `bytes` of text that were moved: no special token, if some
    /// of them are untrusted.
    pub(super) fn without_special_beside_untrusted(mut self, bytes: usize) -> Self {
        self.parse_special &= !self.is_strange(&(0..bytes));
        self.untrusted = &[];
        self
    }

    /// Whether some of `range`, in bytes of the text to be cut, is untrusted.
    fn is_strange(&self, range: &Range<usize>) -> bool {
        let (start, end) = (self.offset + range.start, self.offset + range.end);
        let touches = |other: &Range<usize>| other.start < end && start < other.end;
        self.untrusted.iter().any(touches)
    }
}

/// One added token.
#[derive(Clone, Copy)]
pub(super) struct AddedToken<'a> {
    pub(super) id: u32,
    pub(super) text: &'a [u8],
    pub(super) special: bool,
    pub(super) normalized: bool,
}

impl<'a> AddedTokens<'a> {
    /// Looks at every added token once.
    pub(super) fn new(section: &Section<'a>) -> Self {
        let mut tokens = Self {
            entries: section.added,
            texts: section.added_bytes,
            starts: Starts::EMPTY,
        };
        for token in tokens.iter() {
            tokens.starts.insert(token.text);
        }
        tokens
    }

    /// Token number `index`, in ascending order of ids.
    fn get(&self, index: usize) -> Option<AddedToken<'a>> {
        let start = match index.checked_sub(1) {
            Some(before) => self.entries.get(3 * before + 1)?,
            None => 0,
        };
        let id = self.entries.get(3 * index)?;
        let end = self.entries.get(3 * index + 1)?;
        let flags = self.entries.get(3 * index + 2)?;
        let text = self.texts.get(start as usize..end as usize);
        Some(AddedToken {
            id,
            text: text.unwrap_or_default(),
            special: flags & ADDED_SPECIAL != 0,
            normalized: flags & ADDED_NORMALIZED != 0,
        })
    }

    pub(super) fn iter(self) -> impl Iterator<Item = AddedToken<'a>> {
        (0..self.entries.len() / 3).map_while(move |index| self.get(index))
    }

    /// The added token of this id.
    pub(super) fn by_id(&self, id: u32) -> Option<AddedToken<'a>> {
        let (mut low, mut high) = (0, self.entries.len() / 3);
        while low < high {
            let middle = low.midpoint(high);
            match self.entries.get(3 * middle)? {
                found if found == id => return self.get(middle),
                found if found < id => low = middle + 1,
                _ => high = middle,
            }
        }
        None
    }

    /// The longest token, of those matched in normalised text or of the
    /// others, that `text` starts with.
    fn at_start(&self, text: &[u8], normalized: bool) -> Option<AddedToken<'a>> {
        self.longest_at_start(text, |token| token.normalized == normalized)
    }

    /// The longest of the tokens that count which `text` starts with.
    fn longest_at_start(
        &self,
        text: &[u8],
        counts: impl Fn(&AddedToken) -> bool,
    ) -> Option<AddedToken<'a>> {
        if !self.starts.may_start(text) {
            return None;
        }
        let fits = |token: &AddedToken| {
            counts(token) && !token.text.is_empty() && text.starts_with(token.text)
        };
        self.iter()
            .filter(fits)
            .max_by_key(|token| token.text.len())
    }

    /// Where the leftmost special token is, and the longest of those.
    pub(super) fn find_special(&self, text: &str) -> Option<Range<usize>> {
        let bytes = text.as_bytes();
        (0..bytes.len()).find_map(|at| {
            let token = self.longest_at_start(bytes.get(at..)?, |token| token.special)?;
            Some(at..at + token.text.len())
        })
    }

    /// Cuts `text` at its leftmost added token: what is before it, the token's
    /// id, what is after it. Where special tokens are plain text, a match of
    /// one of them still hides the tokens inside it.
    pub(super) fn cut<'t>(
        &self,
        text: &'t str,
        matching: &Matching,
    ) -> Option<(&'t str, u32, &'t str)> {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let Some(token) = self.at_start(bytes.get(at..)?, matching.normalized) else {
                at += 1;
                continue;
            };
            let end = at + token.text.len();
            if token.special && (!matching.parse_special || matching.is_strange(&(at..end))) {
                at = end;
                continue;
            }
            return Some((text.get(..at)?, token.id, text.get(end..)?));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    /// Never a false "no"; and a "yes" is rare enough to be worth asking.
    #[test]
    fn the_filter_misses_no_token() {
        let mut starts = Starts::EMPTY;
        let tokens: std::vec::Vec<std::string::String> = (0..1000)
            .map(|n| std::format!("<|reserved_special_token_{n}|>"))
            .chain(["a".into(), "<think>".into(), "\u{ff5c}".into()])
            .collect();
        tokens
            .iter()
            .for_each(|token| starts.insert(token.as_bytes()));
        for token in &tokens {
            let text = std::format!("{token} and more");
            assert!(starts.may_start(text.as_bytes()) && starts.may_start(token.as_bytes()));
        }
        for text in [
            "<<<<<<<<<<",
            "<|<|<|<|<|",
            "<|im_end|>",
            "<thought>",
            "<",
            "",
        ] {
            assert!(!starts.may_start(text.as_bytes()), "{text}");
        }
    }
}
