//! Drafts for speculative decoding, from the text so far or by the model's own
//! layer for it.
//!
//! What was written once is often written again: code under edit, names, quotations.
//! So the last few tokens are looked up in all that came before, and what
//! followed them there is tried, all of it in one batch (prompt lookup
//! decoding; speculative decoding after Leviathan et al. 2022, with the text
//! itself as the draft model). Only tokens that would have been sampled anyway
//! are kept, so the answer stays the same.

use std::fmt;
use std::str::FromStr;

use briquette_engine::PlanOptions;

/// Where drafts come from, and how many tokens they have at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draft {
    /// The text so far.
    Ngram(usize),
    /// The layer for multi-token prediction.
    Mtp(usize),
}

impl Draft {
    /// No drafts.
    pub const NONE: Self = Self::Ngram(0);

    /// Most tokens of a draft.
    pub const fn limit(self) -> usize {
        match self {
            Self::Ngram(limit) | Self::Mtp(limit) => limit,
        }
    }

    /// `options` with what such drafts need: every token of one that is tried has
    /// logits of its own.
    pub fn plan(self, options: PlanOptions) -> PlanOptions {
        let tried = (self.limit() as u32).saturating_add(1);
        PlanOptions {
            logits: tried.min(options.batch),
            mtp: matches!(self, Self::Mtp(_)),
            ..options
        }
    }

    /// The name in `--json` reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ngram(0) | Self::Mtp(0) => "none",
            Self::Ngram(_) => "ngram",
            Self::Mtp(_) => "mtp",
        }
    }
}

impl Default for Draft {
    fn default() -> Self {
        Self::Ngram(4)
    }
}

impl fmt::Display for Draft {
    /// As [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ngram(limit) => write!(f, "{limit}"),
            Self::Mtp(limit) => write!(f, "mtp:{limit}"),
        }
    }
}

impl FromStr for Draft {
    type Err = String;

    /// `N`, `ngram`, `ngram:N`, `mtp` or `mtp:N`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, limit) = match text.split_once(':') {
            Some((kind, limit)) => (kind, Some(limit)),
            None if text.starts_with(|c: char| c.is_ascii_digit()) => ("ngram", Some(text)),
            None => (text, None),
        };
        let limit = limit.map(str::parse).transpose();
        let limit = limit.map_err(|error| format!("{error}; a number of tokens is wanted"))?;
        match kind {
            "ngram" => Ok(limit.map_or_else(Self::default, Self::Ngram)),
            "mtp" => Ok(Self::Mtp(limit.unwrap_or(1))),
            _ => Err("known are N, ngram, ngram:N, mtp and mtp:N".into()),
        }
    }
}

/// Tokens that must recur before a draft is made.
const SHORTEST: usize = 3;
/// Tokens that are looked up at most: longer matches make better drafts.
const LONGEST: usize = 8;

/// What followed the latest earlier occurrence of the longest recurring end of
/// `history`: at most `limit` tokens, none if nothing recurs.
pub(super) fn look_up(history: &[u32], limit: usize) -> &[u32] {
    let mut best = (SHORTEST - 1, history.len());
    for end in (1..history.len()).rev() {
        let (earlier, latest) = (history[..end].iter().rev(), history.iter().rev());
        let same = earlier.zip(latest).take_while(|(a, b)| a == b).count();
        if same > best.0 {
            best = (same, end);
        }
        if same >= LONGEST {
            break;
        }
    }
    let follows = &history[best.1..];
    &follows[..follows.len().min(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_read() {
        for (text, draft) in [
            ("0", Draft::NONE),
            ("7", Draft::Ngram(7)),
            ("ngram", Draft::Ngram(4)),
            ("ngram:2", Draft::Ngram(2)),
            ("mtp", Draft::Mtp(1)),
            ("mtp:3", Draft::Mtp(3)),
        ] {
            assert_eq!(text.parse(), Ok(draft), "{text}");
            assert_eq!(draft.to_string().parse(), Ok(draft), "{text}");
        }
        for text in ["", "mpt", "mtp:", "mtp:x", "-1", "4x"] {
            assert!(text.parse::<Draft>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_followed_the_longest_match_is_drafted() {
        assert_eq!(look_up(&[1, 2, 3, 4, 5, 9, 1, 2, 3], 2), [4, 5]);
        // The match of four wins over the later match of three.
        assert_eq!(
            look_up(&[0, 1, 2, 3, 7, 7, 5, 1, 2, 3, 8, 0, 1, 2, 3], 1),
            [7]
        );
        // Of equal matches the later one.
        assert_eq!(look_up(&[1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3], 1), [8]);
    }

    #[test]
    fn a_match_may_overlap_its_own_end() {
        assert_eq!(look_up(&[5, 5, 5, 5], 4), [5]);
        assert_eq!(look_up(&[1, 2, 1, 2, 1, 2, 1], 9), [2, 1]);
    }

    #[test]
    fn nothing_is_drafted_where_nothing_recurs() {
        assert!(look_up(&[], 4).is_empty());
        assert!(look_up(&[1, 2, 3], 4).is_empty());
        assert!(look_up(&[1, 2, 9, 1, 2], 4).is_empty());
        assert!(look_up(&[1, 2, 3, 4, 1, 2, 3], 0).is_empty());
    }
}
