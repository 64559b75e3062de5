//! A byte-level BPE tokenizer, whatever file it came from.

use std::collections::HashMap;

use briquette_engine::text::Splitter;

use super::TokenizerImportError;
use super::alphabet;

/// Everything that decides how a text becomes tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenizerSpec {
    /// The bytes of each token by id; empty for unused ids.
    pub tokens: Vec<Vec<u8>>,
    /// Ids that merging can make, single bytes included.
    pub mergeable: Vec<u32>,
    /// Merges in rank order.
    pub merges: Vec<Merge>,
    /// Tokens that are found before anything else is split.
    pub added: Vec<AddedToken>,
    /// How text falls into pieces.
    pub steps: Vec<SplitStep>,
    /// Bring text to Unicode's NFC first.
    pub normalize_nfc: bool,
    /// A piece that is one token is that token, whatever the merges say.
    pub ignore_merges: bool,
    /// Tokens put before a text.
    pub prefix: Vec<u32>,
    /// Tokens put after a text.
    pub suffix: Vec<u32>,
    /// Tokens that end an answer.
    pub stops: Vec<u32>,
    /// Begin of text.
    pub bos: Option<u32>,
    /// End of text.
    pub eos: Option<u32>,
    /// Stands for bytes without a token.
    pub unknown: Option<u32>,
}

/// Two neighbouring tokens that become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// Left part.
    pub left: u32,
    /// Right part.
    pub right: u32,
    /// What they become.
    pub merged: u32,
}

/// A token that is found before anything else is split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// The text that is found.
    pub text: String,
    /// Part of the protocol, not of the text.
    pub special: bool,
    /// Found in normalised text.
    pub normalized: bool,
}

/// One step of pre-tokenization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitStep {
    /// What it splits off.
    pub splitter: Splitter,
    /// For [`Splitter::Ranges`]: the characters, first and last included.
    pub ranges: Vec<(char, char)>,
}

impl From<Splitter> for SplitStep {
    fn from(splitter: Splitter) -> Self {
        Self {
            splitter,
            ranges: Vec::new(),
        }
    }
}

impl TokenizerSpec {
    /// Fills tokens and merges from texts in the byte-level alphabet.
    pub(in crate::checkpoint) fn fill_vocabulary(
        &mut self,
        vocabulary: &[(String, u32)],
        merges: &[(String, String)],
    ) -> Result<(), TokenizerImportError> {
        let added: HashMap<u32, &str> = self
            .added
            .iter()
            .map(|token| (token.id, token.text.as_str()))
            .collect();
        let mut ids: HashMap<&str, u32> = HashMap::new();
        let all = vocabulary.iter().map(|(_, id)| *id);
        let count = all.chain(added.keys().copied()).max();
        self.tokens = vec![Vec::new(); count.map_or(0, |id| id as usize + 1)];
        for (text, id) in vocabulary {
            if let Some(first) = ids.insert(text, *id) {
                return Err(TokenizerImportError::Duplicate { first, second: *id });
            }
            if added.contains_key(id) {
                continue;
            }
            let slot = &mut self.tokens[*id as usize];
            if !slot.is_empty() {
                return Err(TokenizerImportError::Duplicate {
                    first: *id,
                    second: *id,
                });
            }
            *slot = alphabet::decode(text).ok_or_else(|| TokenizerImportError::NotBytes {
                id: *id,
                text: text.clone(),
            })?;
            self.mergeable.push(*id);
        }
        for token in &self.added {
            self.tokens[token.id as usize] = token.text.clone().into_bytes();
        }
        self.added.sort_by_key(|token| token.id);
        let find = |rank: usize, token: &str| {
            ids.get(token)
                .copied()
                .ok_or_else(|| TokenizerImportError::Merge {
                    rank,
                    token: token.to_owned(),
                })
        };
        for (rank, (left, right)) in merges.iter().enumerate() {
            self.merges.push(Merge {
                left: find(rank, left)?,
                right: find(rank, right)?,
                merged: find(rank, &format!("{left}{right}"))?,
            });
        }
        Ok(())
    }

    /// Checks the ids against the tokens and the model's vocabulary.
    ///
    /// # Errors
    /// If a token has an id that the model does not have, or a special token
    /// is none of the tokens.
    pub fn check(&self, vocab_size: u32) -> Result<(), TokenizerImportError> {
        let tokens = self.tokens.len();
        if tokens as u64 > u64::from(vocab_size) {
            let id = tokens as u64 - 1;
            return Err(TokenizerImportError::IdTooLarge { id, vocab_size });
        }
        let lists = [&self.prefix, &self.suffix, &self.stops];
        let listed = lists.into_iter().flatten().copied();
        let single = [self.bos, self.eos, self.unknown].into_iter().flatten();
        match listed.chain(single).find(|id| *id as usize >= tokens) {
            Some(id) => Err(TokenizerImportError::NoSuchToken { id, tokens }),
            None => Ok(()),
        }
    }
}
