//! Unicode's normalisation form C, by the tables of the tokenizer section.
//!
//! The algorithm is that of Unicode Standard Annex 15: decompose canonically,
//! order combining marks, compose. Hangul syllables go by arithmetic (Unicode
//! Standard, section 3.12). The tables travel with the tokenizer, so that a
//! device whose tokenizer does not normalise does not carry them.

use super::TokenizerError;
use super::section::{Column, Section};

const HANGUL_SYLLABLES: u32 = 0xAC00;
const HANGUL_LEADING: u32 = 0x1100;
const HANGUL_VOWELS: u32 = 0x1161;
const HANGUL_TRAILING: u32 = 0x11A7;
const LEADING_COUNT: u32 = 19;
const VOWEL_COUNT: u32 = 21;
const TRAILING_COUNT: u32 = 28;
const SYLLABLE_COUNT: u32 = LEADING_COUNT * VOWEL_COUNT * TRAILING_COUNT;

/// Unicode 18's deepest decomposition has 3 levels. With a broken table,
/// decomposition must end too.
const DEEPEST: u32 = 6;

/// The tables of a section that normalises.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normalizer<'a> {
    decompositions: Column<'a>,
    compositions: Column<'a>,
    combining: Column<'a>,
}

/// Words of scratch to normalise a text: no character of `n` bytes decomposes
/// into more than `2 n` characters.
pub(super) const fn words_needed(text_bytes: usize) -> usize {
    text_bytes.saturating_mul(2)
}

/// Bytes of scratch to normalise a text: NFC in UTF-8 is at most three times as long.
pub(super) const fn text_needed(text_bytes: usize) -> usize {
    text_bytes.saturating_mul(3)
}

/// Whether the text is in NFC because all its characters are below U+0300: none
/// of these changes, combines, or composes with another.
pub(super) fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c < '\u{300}')
}

impl<'a> Normalizer<'a> {
    pub(super) fn new(section: &Section<'a>) -> Self {
        Self {
            decompositions: section.decompositions,
            compositions: section.compositions,
            combining: section.combining,
        }
    }

    /// Writes the normalised text into `out` and returns it.
    ///
    /// # Errors
    /// If one of the buffers is too small.
    pub(super) fn normalize<'o>(
        &self,
        text: &str,
        words: &mut [u32],
        out: &'o mut [u8],
    ) -> Result<&'o str, TokenizerError> {
        let got = words.len();
        let mut count = 0;
        for c in text.chars() {
            self.decompose(u32::from(c), words, &mut count, DEEPEST)
                .ok_or(TokenizerError::NeedsWords {
                    needed: words_needed(text.len()),
                    got,
                })?;
        }
        let chars = words.get_mut(..count).unwrap_or_default();
        self.order(chars);
        let count = self.compose(chars);
        let got = out.len();
        let mut end = 0;
        for &code in chars.iter().take(count) {
            let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            let place = out.get_mut(end..end + c.len_utf8());
            let place = place.ok_or(TokenizerError::NeedsText {
                needed: text_needed(text.len()),
                got,
            })?;
            end += c.encode_utf8(place).len();
        }
        let written = out.get(..end).unwrap_or_default();
        Ok(core::str::from_utf8(written).unwrap_or_default())
    }

    /// Appends the full decomposition of `code`; `None` when `words` is full.
    fn decompose(&self, code: u32, words: &mut [u32], count: &mut usize, depth: u32) -> Option<()> {
        let syllable = code.wrapping_sub(HANGUL_SYLLABLES);
        if syllable < SYLLABLE_COUNT {
            let vowel = syllable / TRAILING_COUNT % VOWEL_COUNT;
            push(
                words,
                count,
                HANGUL_LEADING + syllable / TRAILING_COUNT / VOWEL_COUNT,
            )?;
            push(words, count, HANGUL_VOWELS + vowel)?;
            return match syllable % TRAILING_COUNT {
                0 => Some(()),
                trailing => push(words, count, HANGUL_TRAILING + trailing),
            };
        }
        let found = (code >= 0xC0 && depth > 0).then(|| self.decomposition(code));
        match found.flatten() {
            None => push(words, count, code),
            Some((first, second)) => {
                self.decompose(first, words, count, depth - 1)?;
                match second {
                    0 => Some(()),
                    second => self.decompose(second, words, count, depth - 1),
                }
            }
        }
    }

    fn decomposition(&self, code: u32) -> Option<(u32, u32)> {
        let table = self.decompositions;
        let at = search(table.len() / 3, |index| {
            table.get(3 * index).map(|c| c.cmp(&code))
        })?;
        Some((table.get(3 * at + 1)?, table.get(3 * at + 2)?))
    }

    fn class(&self, code: u32) -> u32 {
        if code < 0x300 {
            return 0;
        }
        let table = self.combining;
        let at = search(table.len(), |index| {
            table.get(index).map(|entry| (entry >> 8).cmp(&code))
        });
        at.and_then(|at| table.get(at))
            .map_or(0, |entry| entry & 0xFF)
    }

    /// Sorts every run of combining marks by class, keeping the order of
    /// equals. Quadratic in the length of such a run, which is short in text.
    fn order(&self, chars: &mut [u32]) {
        for end in 1..chars.len() {
            let mut at = end;
            while let Some([before, here]) =
                at.checked_sub(1).and_then(|low| chars.get_mut(low..=at))
            {
                let class = self.class(*here);
                if class == 0 || self.class(*before) <= class {
                    break;
                }
                core::mem::swap(before, here);
                at -= 1;
            }
        }
    }

    /// Composes in place and returns how many characters are left.
    fn compose(&self, chars: &mut [u32]) -> usize {
        let mut starter: Option<usize> = None;
        let mut last_class = 0;
        let mut count = 0;
        for index in 0..chars.len() {
            let Some(&code) = chars.get(index) else { break };
            let class = self.class(code);
            let adjacent = starter.is_some_and(|starter| starter + 1 == count);
            let blocked = !adjacent && (last_class == 0 || last_class >= class);
            let place = starter
                .filter(|_| !blocked)
                .and_then(|at| chars.get_mut(at));
            if let Some(place) = place
                && let Some(composed) = self.composition(*place, code)
            {
                *place = composed;
                continue;
            }
            if class == 0 {
                starter = Some(count);
            }
            last_class = class;
            if let Some(place) = chars.get_mut(count) {
                *place = code;
            }
            count += 1;
        }
        count
    }

    fn composition(&self, first: u32, second: u32) -> Option<u32> {
        let leading = first.wrapping_sub(HANGUL_LEADING);
        let vowel = second.wrapping_sub(HANGUL_VOWELS);
        if leading < LEADING_COUNT && vowel < VOWEL_COUNT {
            return Some(HANGUL_SYLLABLES + (leading * VOWEL_COUNT + vowel) * TRAILING_COUNT);
        }
        let syllable = first.wrapping_sub(HANGUL_SYLLABLES);
        let trailing = second.wrapping_sub(HANGUL_TRAILING);
        if syllable < SYLLABLE_COUNT
            && syllable.is_multiple_of(TRAILING_COUNT)
            && (1..TRAILING_COUNT).contains(&trailing)
        {
            return Some(first + trailing);
        }
        let table = self.compositions;
        let at = search(table.len() / 3, |index| {
            let pair = (table.get(3 * index)?, table.get(3 * index + 1)?);
            Some(pair.cmp(&(first, second)))
        })?;
        table.get(3 * at + 2)
    }
}

fn push(words: &mut [u32], count: &mut usize, code: u32) -> Option<()> {
    *words.get_mut(*count)? = code;
    *count += 1;
    Some(())
}

/// Binary search over `count` entries; `compare` orders an entry against the one
/// looked for.
pub(super) fn search(
    count: usize,
    compare: impl Fn(usize) -> Option<core::cmp::Ordering>,
) -> Option<usize> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        match compare(middle)? {
            core::cmp::Ordering::Equal => return Some(middle),
            core::cmp::Ordering::Less => low = middle + 1,
            core::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}
