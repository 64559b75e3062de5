//! Pre-tokenizers: how a text is cut into the pieces that merging never joins.
//!
//! Published tokenizers describe this by regular expressions. The ones in use
//! are few, so each is matched by hand here, with the exact outcome of a
//! backtracking engine: first alternative that matches, greedy repetition.
//! No pattern looks back, so only the text from a position on matters.

mod classes;
mod patterns;

use super::section::Column;
use classes::{is_letter, is_number, is_punctuation};
use patterns::{
    after, before, cased_words, deepseek_v3, first_length, gpt2, numbers, run, run_at_most, spaced,
    words,
};

/// One way of splitting. What a pattern matches becomes a piece of its own,
/// and so does each stretch between two matches; the next step splits these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splitter {
    /// Kind 1, GPT-2:
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// Kind 2, Llama 3 (`digits` 3) and Qwen 2 (`digits` 1; the argument):
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
    /// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Words {
        /// The most digits of a piece.
        digits: u8,
    },
    /// Kind 3, the last pattern of DeepSeek V3:
    /// an ASCII punctuation mark and `[A-Za-z]+`, or
    /// `[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    DeepSeekV3,
    /// Kind 4: `\p{N}{1,digits}` (the argument; 0: any number of digits).
    Numbers {
        /// The most digits of a piece, 0 for all of them.
        digits: u8,
    },
    /// Kind 5: `\s?\p{L}+`.
    SpacedLetters,
    /// Kind 6: `\s?\p{P}+`.
    SpacedPunctuation,
    /// Kind 7: `\s+$`.
    TrailingSpace,
    /// Kind 8: characters of the step's ranges. Argument bit 0: `spaced`; bit 1: `repeated`.
    Ranges {
        /// One whitespace character may stand before them: `\s?`.
        spaced: bool,
        /// As many as there are: `+`.
        repeated: bool,
    },
    /// Kind 9, Mistral's Tekken (argument 1) and GPT-4o (argument 128 + 3):
    /// words that change from upper to lower case only once, where `U` is
    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and `L` is `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`:
    /// `[^\r\n\p{L}\p{N}]?U*L+C|[^\r\n\p{L}\p{N}]?U+L*C|\p{N}{1,digits}|
    /// ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    CasedWords {
        /// The most digits of a piece.
        digits: u8,
        /// Whether `C` is `(?i:'s|'t|'re|'ve|'m|'ll|'d)?`, else it is nothing.
        contractions: bool,
    },
}

impl Splitter {
    /// The kind and the argument that stand for this splitter in a section.
    pub fn code(self) -> (u8, u8) {
        match self {
            Self::Gpt2 => (1, 0),
            Self::Words { digits } => (2, digits),
            Self::DeepSeekV3 => (3, 0),
            Self::Numbers { digits } => (4, digits),
            Self::SpacedLetters => (5, 0),
            Self::SpacedPunctuation => (6, 0),
            Self::TrailingSpace => (7, 0),
            Self::Ranges { spaced, repeated } => (8, u8::from(spaced) | u8::from(repeated) << 1),
            Self::CasedWords {
                digits,
                contractions,
            } => (9, digits & 0x7F | u8::from(contractions) << 7),
        }
    }

    /// The splitter that a kind and an argument stand for.
    pub fn from_code(kind: u8, argument: u8) -> Option<Self> {
        let splitter = match kind {
            1 => Self::Gpt2,
            2 => Self::Words { digits: argument },
            3 => Self::DeepSeekV3,
            4 => Self::Numbers { digits: argument },
            5 => Self::SpacedLetters,
            6 => Self::SpacedPunctuation,
            7 => Self::TrailingSpace,
            8 => Self::Ranges {
                spaced: argument & 1 != 0,
                repeated: argument & 2 != 0,
            },
            9 => Self::CasedWords {
                digits: argument & 0x7F,
                contractions: argument & 0x80 != 0,
            },
            _ => return None,
        };
        (splitter.code() == (kind, argument)).then_some(splitter)
    }
}

/// A splitter together with its character ranges.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) splitter: Splitter,
    pub(super) ranges: Column<'a>,
    pub(super) first_range: usize,
    pub(super) range_count: usize,
}

/// What a step says about the start of a text.
enum Outcome {
    /// The first bytes match, as many as this.
    Match(usize),
    /// Nothing matches here, nor anywhere in as many bytes as this.
    Skip(usize),
}

/// Hands every piece of `text` to `visit`, in order.
pub(super) fn split<'t, E>(
    step: &impl Fn(usize) -> Option<Step<'t>>,
    depth: usize,
    text: &'t str,
    visit: &mut impl FnMut(&'t str) -> Result<(), E>,
) -> Result<(), E> {
    let Some(current) = step(depth) else {
        return visit(text);
    };
    let (mut gap, mut rest) = (text, text);
    while !rest.is_empty() {
        match current.at_start(rest) {
            Outcome::Skip(length) => rest = after(rest, length.max(1)),
            Outcome::Match(length) => {
                let between = before(gap, gap.len() - rest.len());
                if !between.is_empty() {
                    split(step, depth + 1, between, visit)?;
                }
                split(step, depth + 1, before(rest, length), visit)?;
                rest = after(rest, length);
                gap = rest;
            }
        }
    }
    if gap.is_empty() {
        return Ok(());
    }
    split(step, depth + 1, gap, visit)
}

impl Step<'_> {
    fn at_start(&self, text: &str) -> Outcome {
        let length = match self.splitter {
            Splitter::Gpt2 => gpt2(text),
            Splitter::Words { digits } => words(text, digits),
            Splitter::DeepSeekV3 => deepseek_v3(text),
            Splitter::Numbers { digits: 0 } => run(text, is_number),
            Splitter::Numbers { digits } => numbers(text, digits),
            Splitter::SpacedLetters => spaced(text, |text| run(text, is_letter)),
            Splitter::SpacedPunctuation => spaced(text, |text| run(text, is_punctuation)),
            Splitter::TrailingSpace => match run(text, char::is_whitespace) {
                all if all == text.len() => all,
                part => return Outcome::Skip(part.max(first_length(text))),
            },
            Splitter::Ranges {
                spaced: true,
                repeated,
            } => spaced(text, |text| self.in_ranges(text, repeated)),
            Splitter::Ranges { repeated, .. } => self.in_ranges(text, repeated),
            Splitter::CasedWords {
                digits,
                contractions,
            } => cased_words(text, digits, contractions),
        };
        match length {
            0 => Outcome::Skip(first_length(text)),
            length => Outcome::Match(length),
        }
    }

    fn in_ranges(&self, text: &str, repeated: bool) -> usize {
        let in_range = |c: char| {
            (self.first_range..self.first_range + self.range_count).any(|index| {
                let first = self.ranges.get(2 * index).unwrap_or(u32::MAX);
                let last = self.ranges.get(2 * index + 1).unwrap_or(0);
                (first..=last).contains(&u32::from(c))
            })
        };
        if repeated {
            run(text, in_range)
        } else {
            run_at_most(text, 1, in_range)
        }
    }
}
