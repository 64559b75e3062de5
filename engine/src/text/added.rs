//! Added tokens: texts that are found before anything else is split.

use super::section::{ADDED_NORMALIZED, ADDED_SPECIAL, Column, Section};

/// The added tokens of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddedTokens<'a> {
    entries: Column<'a>,
    texts: &'a [u8],
    /// One bit for each byte that an added token starts with.
    first_bytes: [u32; 8],
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
            first_bytes: [0; 8],
        };
        for token in tokens.iter() {
            if let Some(&byte) = token.text.first() {
                let word = tokens.first_bytes.get_mut(usize::from(byte / 32));
                *word.unwrap_or(&mut 0) |= 1 << (byte % 32);
            }
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
        let byte = *text.first()?;
        let word = *self.first_bytes.get(usize::from(byte / 32))?;
        if word & (1 << (byte % 32)) == 0 {
            return None;
        }
        let fits = |token: &AddedToken| {
            token.normalized == normalized && !token.text.is_empty() && text.starts_with(token.text)
        };
        self.iter()
            .filter(fits)
            .max_by_key(|token| token.text.len())
    }

    /// Cuts `text` at its leftmost added token: what is before it, the token's
    /// id, what is after it. Where special tokens are plain text, a match of
    /// one of them still hides the tokens inside it.
    pub(super) fn cut<'t>(
        &self,
        text: &'t str,
        normalized: bool,
        parse_special: bool,
    ) -> Option<(&'t str, u32, &'t str)> {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match self.at_start(bytes.get(at..)?, normalized) {
                None => at += 1,
                Some(token) if token.special && !parse_special => at += token.text.len(),
                Some(token) => {
                    let before = text.get(..at)?;
                    let after = text.get(at + token.text.len()..)?;
                    return Some((before, token.id, after));
                }
            }
        }
        None
    }
}
