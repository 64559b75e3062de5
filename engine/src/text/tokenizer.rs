//! The tokenizer: what its tokens are and where they are found.

use core::ops::Range;

use super::TokenizerError;
use super::added::AddedTokens;
use super::merge::Merge;
use super::normalize::{Normalizer, search};
use super::section::{Column, Header, IGNORE_MERGES, NO_ID, NORMALIZE_NFC, Section};
use super::split::{Splitter, Step};

/// A byte-level byte-pair tokenizer, read in place from a
/// [section](super::section) of a briquette.
#[derive(Debug, Clone, Copy)]
pub struct Tokenizer<'a> {
    pub(super) section: Section<'a>,
    pub(super) added: AddedTokens<'a>,
}

/// What kind of token an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenFlags {
    /// Found in a text before it is split.
    pub added: bool,
    /// Part of the protocol, not of the text: not shown to people.
    pub special: bool,
    /// The token of one single byte that merging starts from.
    pub byte: bool,
    /// No token has this id.
    pub unused: bool,
}

impl<'a> Tokenizer<'a> {
    /// Opens a section. Looks at the header and at every added token and
    /// pre-tokenizer step; the tables' sizes are checked, their entries when read.
    ///
    /// # Errors
    /// If this is no tokenizer section of a known version, or its parts do not
    /// add up to its length.
    pub fn new(bytes: &'a [u8]) -> Result<Self, TokenizerError> {
        let section = Section::parse(bytes)?;
        for step in section.steps.chunks_exact(6) {
            let kind = step.first().copied().unwrap_or(0);
            let argument = step.get(1).copied().unwrap_or(0);
            if Splitter::from_code(kind, argument).is_none() {
                return Err(TokenizerError::BadField {
                    field: "step kind",
                    value: u32::from(kind),
                });
            }
        }
        let lists = [section.prefix, section.suffix, section.stops];
        let mut ids = lists.into_iter().flat_map(Column::iter);
        if let Some(value) = ids.find(|&id| id >= section.header.vocabulary) {
            let field = "prefix, suffix or stop id";
            return Err(TokenizerError::BadField { field, value });
        }
        let added = AddedTokens::new(&section);
        Ok(Self { section, added })
    }

    /// The header's numbers.
    pub fn header(&self) -> &Header {
        &self.section.header
    }

    /// Number of ids, unused ones included.
    pub fn vocabulary(&self) -> u32 {
        self.section.header.vocabulary
    }

    /// The bytes that a token stands for; none for an id that is not in use.
    pub fn token_bytes(&self, id: u32) -> &'a [u8] {
        let index = id as usize;
        let ends = self.section.token_ends;
        let start = index
            .checked_sub(1)
            .map_or(Some(0), |before| ends.get(before));
        let range = start.zip(ends.get(index));
        range
            .and_then(|(start, end)| self.section.token_bytes.get(start as usize..end as usize))
            .unwrap_or_default()
    }

    /// What kind of token this is.
    pub fn flags(&self, id: u32) -> TokenFlags {
        let added = self.added.by_id(id);
        let bytes = self.token_bytes(id);
        TokenFlags {
            added: added.is_some(),
            special: added.is_some_and(|token| token.special),
            byte: matches!(bytes, [byte] if self.byte_id(*byte) == Some(id)),
            unused: bytes.is_empty(),
        }
    }

    /// The id of the token that stands for exactly these bytes.
    pub fn id_of(&self, piece: &[u8]) -> Option<u32> {
        let mut added = self.added.iter();
        let added = added.find(|token| !token.text.is_empty() && token.text == piece);
        added
            .map(|token| token.id)
            .or_else(|| self.sorted_id_of(piece))
    }

    /// The begin-of-text token.
    pub fn bos(&self) -> Option<u32> {
        id(self.section.header.bos)
    }

    /// The end-of-text token: one of those that end an answer, see
    /// [`Blob::stops`](crate::blob::Blob::stops).
    pub fn eos(&self) -> Option<u32> {
        id(self.section.header.eos)
    }

    /// The stop tokens that the section lists: not all at which an answer ends,
    /// and often none. [`Blob::stops`](crate::blob::Blob::stops) has them all.
    pub fn section_stops(&self) -> impl Iterator<Item = u32> + 'a {
        self.section.stops.iter()
    }

    /// The tokens put before a text if special tokens are asked for, such as
    /// begin of text.
    pub fn prefix(&self) -> impl Iterator<Item = u32> + 'a {
        self.section.prefix.iter()
    }

    /// The tokens put after a text if special tokens are asked for.
    pub fn suffix(&self) -> impl Iterator<Item = u32> + 'a {
        self.section.suffix.iter()
    }

    /// Hands the bytes of each token to `emit`, without special tokens if
    /// `skip_special`.
    pub fn decode(&self, ids: &[u32], skip_special: bool, mut emit: impl FnMut(&'a [u8])) {
        for &id in ids {
            if !(skip_special && self.flags(id).special) {
                emit(self.token_bytes(id));
            }
        }
    }

    /// Where in `text` the name of the first special token is, in bytes.
    pub fn find_special(&self, text: &str) -> Option<Range<usize>> {
        self.added.find_special(text)
    }

    pub(super) fn ignores_merges(&self) -> bool {
        self.section.header.options & IGNORE_MERGES != 0
    }

    pub(super) fn normalizer(&self) -> Option<Normalizer<'a>> {
        let normalizes = self.section.header.options & NORMALIZE_NFC != 0;
        normalizes.then(|| Normalizer::new(&self.section))
    }

    pub(super) fn byte_id(&self, byte: u8) -> Option<u32> {
        self.section.byte_ids.get(usize::from(byte)).and_then(id)
    }

    pub(super) fn unknown(&self) -> Option<u32> {
        id(self.section.header.unknown)
    }

    /// Looks a piece up among the tokens that merges make.
    pub(super) fn sorted_id_of(&self, piece: &[u8]) -> Option<u32> {
        let sorted = self.section.sorted;
        let at = search(sorted.len(), |index| {
            let id = sorted.get(index)?;
            Some(self.token_bytes(id).cmp(piece))
        })?;
        sorted.get(at)
    }

    pub(super) fn merge(&self, left: u32, right: u32) -> Option<Merge> {
        let first_merge = self.section.first_merge;
        let start = first_merge.get(left as usize)? as usize;
        let end = first_merge.get((left as usize).checked_add(1)?)? as usize;
        let merges = self.section.merges;
        let at = start
            + search(end.checked_sub(start)?, |index| {
                Some(merges.get(3 * (start + index))?.cmp(&right))
            })?;
        let rank = merges.get(3 * at + 1)?;
        let id = merges.get(3 * at + 2)?;
        (rank < NO_ID && id < self.vocabulary()).then_some(Merge { rank, id })
    }

    pub(super) fn step(&self, index: usize) -> Option<Step<'a>> {
        let start = index.checked_mul(6)?;
        let &[kind, argument, first_low, first_high, count_low, count_high] =
            self.section.steps.get(start..start.checked_add(6)?)?
        else {
            return None;
        };
        Some(Step {
            splitter: Splitter::from_code(kind, argument)?,
            ranges: self.section.ranges,
            first_range: usize::from(u16::from_le_bytes([first_low, first_high])),
            range_count: usize::from(u16::from_le_bytes([count_low, count_high])),
        })
    }
}

fn id(id: u32) -> Option<u32> {
    (id != NO_ID).then_some(id)
}
