//! Classes of characters, by their general category in Unicode.

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};

pub(super) fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

pub(super) fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphabetic()
    } else {
        GeneralCategoryGroup::Letter.contains(category(c))
    }
}

pub(super) fn is_number(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_digit()
    } else {
        GeneralCategoryGroup::Number.contains(category(c))
    }
}

pub(super) fn is_mark(c: char) -> bool {
    !c.is_ascii() && GeneralCategoryGroup::Mark.contains(category(c))
}

pub(super) fn is_punctuation(c: char) -> bool {
    GeneralCategoryGroup::Punctuation.contains(category(c))
}

pub(super) fn is_symbol(c: char) -> bool {
    GeneralCategoryGroup::Symbol.contains(category(c))
}

/// `[^\s\p{L}\p{N}]`
pub(super) fn is_other(c: char) -> bool {
    !c.is_whitespace() && !is_letter(c) && !is_number(c)
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
pub(super) fn is_high(c: char) -> bool {
    (is_letter(c) && category(c) != GeneralCategory::LowercaseLetter) || is_mark(c)
}

/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
pub(super) fn is_low(c: char) -> bool {
    let cased = [
        GeneralCategory::UppercaseLetter,
        GeneralCategory::TitlecaseLetter,
    ];
    (is_letter(c) && !cased.contains(&category(c))) || is_mark(c)
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}
