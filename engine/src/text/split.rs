//! Pre-tokenizers: how a text falls into the pieces that merging never joins.
//!
//! Published tokenizers describe this by regular expressions. The ones in use
//! are few, so each is matched by hand here, with the exact outcome of a
//! backtracking engine: first alternative that matches, greedy repetition.
//! No pattern looks behind, so the text from a position on decides alone.

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};

use super::section::Column;

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
    /// So many bytes match.
    Match(usize),
    /// Nothing matches here, nor anywhere in so many bytes.
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

fn before(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text)
}

fn after(text: &str, length: usize) -> &str {
    text.get(length..).unwrap_or_default()
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

fn gpt2(text: &str) -> usize {
    let contraction = contraction(text, |a, b| a == b);
    if contraction > 0 {
        return contraction;
    }
    let space = usize::from(text.starts_with(' '));
    let body = after(text, space);
    for class in [is_letter, is_number, is_other] {
        let length = run(body, class);
        if length > 0 {
            return space + length;
        }
    }
    whitespace(text)
}

fn words(text: &str, digits: u8) -> usize {
    first_of([
        &|| contraction(text, folds_to),
        &|| word(text, is_letter, |c| !is_letter(c) && !is_number(c)),
        &|| numbers(text, digits),
        &|| marks(text, is_other, is_newline),
        &|| through_last_newline(text),
        &|| whitespace(text),
    ])
}

fn deepseek_v3(text: &str) -> usize {
    let mark = |c| is_punctuation(c) || is_symbol(c);
    first_of([
        &|| match run_at_most(text, 1, |c| c.is_ascii_punctuation()) {
            0 => 0,
            one => match run(after(text, one), |c| c.is_ascii_alphabetic()) {
                0 => 0,
                letters => one + letters,
            },
        },
        &|| {
            word(
                text,
                |c| is_letter(c) || is_mark(c),
                |c| !is_letter(c) && !mark(c),
            )
        },
        &|| marks(text, mark, is_newline),
        &|| through_last_newline(text),
        &|| whitespace(text),
    ])
}

fn cased_words(text: &str, digits: u8, contractions: bool) -> usize {
    let with_contraction = |length: usize| match length {
        0 => 0,
        length if contractions => length + contraction(after(text, length), folds_to),
        length => length,
    };
    let prefix = run_at_most(text, 1, |c| {
        !is_newline(c) && !is_letter(c) && !is_number(c)
    });
    first_of([
        &|| with_contraction(prefixed(text, prefix, rising_then_low)),
        &|| with_contraction(prefixed(text, prefix, high_then_low)),
        &|| numbers(text, digits),
        &|| marks(text, is_other, |c| is_newline(c) || c == '/'),
        &|| through_last_newline(text),
        &|| whitespace(text),
    ])
}

/// `U*L+`: where the run of `U` leaves no `L` after it, it gives back what
/// follows its own last member that is an `L` too.
fn rising_then_low(text: &str) -> usize {
    let high = run(text, is_high);
    let low = run(after(text, high), is_low);
    if low > 0 {
        return high + low;
    }
    let mut shared = before(text, high).char_indices().rev();
    let last = shared.find(|&(_, c)| is_low(c));
    last.map_or(0, |(at, c)| at + c.len_utf8())
}

/// `U+L*`.
fn high_then_low(text: &str) -> usize {
    match run(text, is_high) {
        0 => 0,
        high => high + run(after(text, high), is_low),
    }
}

/// The first alternative that matches anything.
fn first_of<const N: usize>(alternatives: [&dyn Fn() -> usize; N]) -> usize {
    let mut lengths = alternatives.into_iter().map(|alternative| alternative());
    lengths.find(|&length| length > 0).unwrap_or(0)
}

/// `prefix?body`, where `prefix` bytes at the start may be the optional prefix.
fn prefixed(text: &str, prefix: usize, body: impl Fn(&str) -> usize) -> usize {
    if prefix > 0 {
        let length = body(after(text, prefix));
        if length > 0 {
            return prefix + length;
        }
    }
    body(text)
}

/// `\s?body`.
fn spaced(text: &str, body: impl Fn(&str) -> usize) -> usize {
    prefixed(text, run_at_most(text, 1, char::is_whitespace), body)
}

/// `[prefix, but no newline]?body+`.
fn word(text: &str, body: impl Fn(char) -> bool, prefix: impl Fn(char) -> bool) -> usize {
    let prefix = run_at_most(text, 1, |c| !is_newline(c) && prefix(c));
    prefixed(text, prefix, |text| run(text, &body))
}

/// `\p{N}{1,digits}`.
fn numbers(text: &str, digits: u8) -> usize {
    run_at_most(text, usize::from(digits), is_number)
}

/// ` ?class+tail*`.
fn marks(text: &str, class: impl Fn(char) -> bool, tail: impl Fn(char) -> bool) -> usize {
    let space = usize::from(text.starts_with(' '));
    match run(after(text, space), class) {
        0 => 0,
        length => space + length + run(after(text, space + length), tail),
    }
}

/// `\s*[\r\n]+`: whitespace up to its last newline.
fn through_last_newline(text: &str) -> usize {
    let space = before(text, run(text, char::is_whitespace));
    space.rfind(is_newline).map_or(0, |at| at + 1)
}

/// `\s+(?!\S)|\s+`: before something else, the last character stays with it,
/// unless it is the only one.
fn whitespace(text: &str) -> usize {
    let all = run(text, char::is_whitespace);
    let last = before(text, all).chars().next_back();
    let last = last.map_or(0, char::len_utf8);
    if all == text.len() || all == last {
        all
    } else {
        all - last
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, letters compared by `same`.
fn contraction(text: &str, same: impl Fn(char, char) -> bool) -> usize {
    let Some(tail) = text.strip_prefix('\'') else {
        return 0;
    };
    let matches = |ending: &&str| {
        let mut chars = tail.chars();
        ending
            .chars()
            .all(|e| chars.next().is_some_and(|c| same(c, e)))
    };
    let ending = ["s", "t", "re", "ve", "m", "ll", "d"]
        .into_iter()
        .find(matches);
    ending.map_or(0, |ending| 1 + run_at_most(tail, ending.len(), |_| true))
}

/// Whether `c` is `letter` when case is ignored as Unicode's simple folding
/// does: the long s folds to an s.
fn folds_to(c: char, letter: char) -> bool {
    c.eq_ignore_ascii_case(&letter) || (c == 'ſ' && letter == 's')
}

/// Bytes of the characters at the start that are of a class.
fn run(text: &str, class: impl Fn(char) -> bool) -> usize {
    text.find(|c| !class(c)).unwrap_or(text.len())
}

/// Bytes of at most `most` characters at the start that are of a class.
fn run_at_most(text: &str, most: usize, class: impl Fn(char) -> bool) -> usize {
    let members = text.chars().take(most).take_while(|&c| class(c));
    members.map(char::len_utf8).sum()
}

fn first_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphabetic()
    } else {
        GeneralCategoryGroup::Letter.contains(category(c))
    }
}

fn is_number(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_digit()
    } else {
        GeneralCategoryGroup::Number.contains(category(c))
    }
}

fn is_mark(c: char) -> bool {
    !c.is_ascii() && GeneralCategoryGroup::Mark.contains(category(c))
}

fn is_punctuation(c: char) -> bool {
    GeneralCategoryGroup::Punctuation.contains(category(c))
}

fn is_symbol(c: char) -> bool {
    GeneralCategoryGroup::Symbol.contains(category(c))
}

/// `[^\s\p{L}\p{N}]`
fn is_other(c: char) -> bool {
    !c.is_whitespace() && !is_letter(c) && !is_number(c)
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
fn is_high(c: char) -> bool {
    (is_letter(c) && category(c) != GeneralCategory::LowercaseLetter) || is_mark(c)
}

/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
fn is_low(c: char) -> bool {
    let cased = [
        GeneralCategory::UppercaseLetter,
        GeneralCategory::TitlecaseLetter,
    ];
    (is_letter(c) && !cased.contains(&category(c))) || is_mark(c)
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}
