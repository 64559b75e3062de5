//! The tables of Unicode's NFC, as a tokenizer's section carries them.

use icu_normalizer::properties::{
    CanonicalCombiningClassMapBorrowed, CanonicalCompositionBorrowed,
    CanonicalDecompositionBorrowed, Decomposed,
};

/// Tables for every character but the Hangul syllables, which go by arithmetic.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// What decomposes, into what; the second is 0 if there is one only.
    pub(super) decompositions: Vec<[u32; 3]>,
    /// First, second, what they compose to.
    pub(super) compositions: Vec<[u32; 3]>,
    /// Characters of non-zero combining class: character × 256 + class.
    pub(super) combining: Vec<u32>,
}

const HANGUL: std::ops::RangeInclusive<char> = '\u{ac00}'..='\u{d7a3}';

impl Tables {
    /// The tables of the Unicode version that ICU4X has.
    pub(super) fn new() -> Self {
        let decomposition = CanonicalDecompositionBorrowed::new();
        let composition = CanonicalCompositionBorrowed::new();
        let classes = CanonicalCombiningClassMapBorrowed::new();
        let mut tables = Self::default();
        for character in ('\0'..=char::MAX).filter(|c| !HANGUL.contains(c)) {
            let code = u32::from(character);
            match decomposition.decompose(character) {
                Decomposed::Default => {}
                Decomposed::Singleton(to) => tables.decompositions.push([code, to.into(), 0]),
                Decomposed::Expansion(first, second) => {
                    let pair = [first.into(), second.into()];
                    tables.decompositions.push([code, pair[0], pair[1]]);
                    if composition.compose(first, second) == Some(character) {
                        tables.compositions.push([pair[0], pair[1], code]);
                    }
                }
            }
            let class = classes.get_u8(character);
            if class != 0 {
                tables.combining.push(code << 8 | u32::from(class));
            }
        }
        tables.compositions.sort_unstable();
        tables
    }
}
