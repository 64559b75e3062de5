//! The patterns of published tokenizers, matched by hand: each function says how
//! many bytes match at the start of a text, 0 for none.

use super::classes::{
    is_high, is_letter, is_low, is_mark, is_newline, is_number, is_other, is_punctuation, is_symbol,
};

pub(super) fn gpt2(text: &str) -> usize {
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

pub(super) fn words(text: &str, digits: u8) -> usize {
    first_of([
        &|| contraction(text, folds_to),
        &|| word(text, is_letter, |c| !is_letter(c) && !is_number(c)),
        &|| numbers(text, digits),
        &|| marks(text, is_other, is_newline),
        &|| through_last_newline(text),
        &|| whitespace(text),
    ])
}

pub(super) fn deepseek_v3(text: &str) -> usize {
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

pub(super) fn cased_words(text: &str, digits: u8, contractions: bool) -> usize {
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
pub(super) fn spaced(text: &str, body: impl Fn(&str) -> usize) -> usize {
    prefixed(text, run_at_most(text, 1, char::is_whitespace), body)
}

/// `[prefix, but no newline]?body+`.
fn word(text: &str, body: impl Fn(char) -> bool, prefix: impl Fn(char) -> bool) -> usize {
    let prefix = run_at_most(text, 1, |c| !is_newline(c) && prefix(c));
    prefixed(text, prefix, |text| run(text, &body))
}

/// `\p{N}{1,digits}`.
pub(super) fn numbers(text: &str, digits: u8) -> usize {
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
pub(super) fn run(text: &str, class: impl Fn(char) -> bool) -> usize {
    text.find(|c| !class(c)).unwrap_or(text.len())
}

/// Bytes of at most `most` characters at the start that are of a class.
pub(super) fn run_at_most(text: &str, most: usize, class: impl Fn(char) -> bool) -> usize {
    let members = text.chars().take(most).take_while(|&c| class(c));
    members.map(char::len_utf8).sum()
}

pub(super) fn first_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

pub(super) fn before(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text)
}

pub(super) fn after(text: &str, length: usize) -> &str {
    text.get(length..).unwrap_or_default()
}
