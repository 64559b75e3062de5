//! The tags of reasoning: `<think>…</think><answer>…</answer>`.

use super::TagRules;

/// A tag that separates thinking from answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// `<think>`
    Think,
    /// `</think>`
    EndThink,
    /// `<answer>`
    Answer,
    /// `</answer>`
    EndAnswer,
}

impl Tag {
    /// All tags, in the order in which they are written.
    pub const ALL: [Self; 4] = [Self::Think, Self::EndThink, Self::Answer, Self::EndAnswer];

    /// How the tag is written.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Think => "<think>",
            Self::EndThink => "</think>",
            Self::Answer => "<answer>",
            Self::EndAnswer => "</answer>",
        }
    }

    /// What follows the tag.
    pub const fn opens(self) -> Part {
        match self {
            Self::Think => Part::Thinking,
            Self::Answer => Part::Answer,
            Self::EndThink | Self::EndAnswer => Part::Outside,
        }
    }
}

/// The part of an output that a piece of text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// Between `<think>` and `</think>`.
    Thinking,
    /// Between `<answer>` and `</answer>`.
    Answer,
    /// Before, between or after: of a model that only marks its thinking, the
    /// answer.
    #[default]
    Outside,
}

/// Bytes of the longest tag.
pub(super) const LONGEST: usize = 9;

/// Splits text into thinking and answer as it arrives, in pieces of any size.
/// Tags themselves are left out. Every tag that the rules know is obeyed wherever
/// it is, so that a missing one does no harm to what follows.
///
/// ```
/// use briquette_engine::text::{Part, TagRules, TagStream};
///
/// let mut stream = TagStream::new(Part::Outside, TagRules::SPELT);
/// let mut answer = Vec::new();
/// for piece in ["<thi", "nk>1 < 2</think", "><answer>y", "es</answer>"] {
///     stream.push(piece.as_bytes(), |part, bytes| {
///         if part == Part::Answer {
///             answer.extend_from_slice(bytes);
///         }
///     });
/// }
/// stream.finish(|_, _| ());
/// assert_eq!(answer, b"yes");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TagStream {
    part: Part,
    rules: TagRules,
    matcher: TagMatcher,
}

impl TagStream {
    /// A stream that starts inside `part`: a prompt may have opened the
    /// thought already.
    pub const fn new(part: Part, rules: TagRules) -> Self {
        Self {
            part,
            rules,
            matcher: TagMatcher::new(),
        }
    }

    /// Where the text is now.
    pub const fn part(&self) -> Part {
        self.part
    }

    /// Takes a token that stands for `bytes`: a tag if the rules say so, else
    /// more bytes.
    pub fn push_token(&mut self, token: u32, bytes: &[u8], mut emit: impl FnMut(Part, &[u8])) {
        match self.rules.tag_of(token) {
            Some(tag) => {
                self.finish(emit);
                self.part = tag.opens();
            }
            None => self.push(bytes, &mut emit),
        }
    }

    /// Takes more bytes, and calls `emit` with all that cannot be the start of
    /// a tag. At most 8 bytes are held back.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(Part, &[u8])) {
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let before = self.matcher;
            match self.matcher.push(*byte, &self.rules) {
                Step::Text => continue,
                Step::Held => self.emit(bytes.get(start..at), &mut emit),
                Step::Tag(tag) => self.part = tag.opens(),
                Step::Broken => {
                    self.emit(Some(before.held()), &mut emit);
                    if self.matcher.held().is_empty() {
                        start = at;
                        continue;
                    }
                }
            }
            start = at + 1;
        }
        self.emit(bytes.get(start..), &mut emit);
    }

    /// Ends the text: what was held back is no tag.
    pub fn finish(&mut self, mut emit: impl FnMut(Part, &[u8])) {
        self.emit(Some(self.matcher.held()), &mut emit);
        self.matcher = TagMatcher::new();
    }

    fn emit(&self, bytes: Option<&[u8]>, emit: &mut impl FnMut(Part, &[u8])) {
        if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
            emit(self.part, bytes);
        }
    }
}

/// What a byte means to a [`TagMatcher`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is text, and so is everything before it.
    Text,
    /// It and what is held may be the start of a tag.
    Held,
    /// It ends a tag.
    Tag(Tag),
    /// What was held is text; the byte is text too or held itself.
    Broken,
}

/// Finds tags in bytes that come one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TagMatcher {
    bytes: [u8; LONGEST],
    length: usize,
}

impl TagMatcher {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; LONGEST],
            length: 0,
        }
    }

    /// The start of what may become a tag.
    pub(super) fn held(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(super) fn push(&mut self, byte: u8, rules: &TagRules) -> Step {
        let was_empty = self.length == 0;
        if self.extends(byte, rules) {
            return match Tag::ALL
                .iter()
                .find(|tag| tag.text().as_bytes() == self.held())
            {
                Some(tag) => {
                    self.length = 0;
                    Step::Tag(*tag)
                }
                None => Step::Held,
            };
        }
        // No tag has a second `<`: only the byte itself can begin a new one.
        self.length = 0;
        match (was_empty, self.extends(byte, rules)) {
            (true, false) => Step::Text,
            (true, true) => Step::Held,
            (false, _) => Step::Broken,
        }
    }

    /// Holds `byte` if it continues some tag.
    fn extends(&mut self, byte: u8, rules: &TagRules) -> bool {
        let goes_on = |tag: &Tag| {
            let text = tag.text().as_bytes();
            rules.is_spelt(*tag)
                && text.starts_with(self.held())
                && text.get(self.length) == Some(&byte)
        };
        if !Tag::ALL.iter().any(goes_on) {
            return false;
        }
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    /// Runs of text with their parts, as an independent reader finds them in
    /// the whole text.
    fn expected(text: &str) -> Vec<(Part, String)> {
        let mut runs = Vec::new();
        let mut part = Part::Outside;
        let mut rest = text;
        loop {
            let next = Tag::ALL
                .iter()
                .filter_map(|tag| Some((rest.find(tag.text())?, *tag)))
                .min_by_key(|(at, _)| *at);
            let (end, tag) = next.map_or((rest.len(), None), |(at, tag)| (at, Some(tag)));
            if end > 0 {
                runs.push((part, rest[..end].into()));
            }
            let Some(tag) = tag else { return merged(runs) };
            rest = &rest[end + tag.text().len()..];
            part = tag.opens();
        }
    }

    /// Neighbouring runs of the same part as one.
    fn merged(runs: Vec<(Part, String)>) -> Vec<(Part, String)> {
        let mut merged: Vec<(Part, String)> = Vec::new();
        for (part, text) in runs {
            match merged.last_mut() {
                Some((last, before)) if *last == part => before.push_str(&text),
                _ => merged.push((part, text)),
            }
        }
        merged
    }

    fn streamed(pieces: &[&[u8]]) -> Vec<(Part, String)> {
        let mut stream = TagStream::new(Part::Outside, TagRules::SPELT);
        let mut runs = Vec::new();
        let mut emit = |part, bytes: &[u8]| {
            assert!(!bytes.is_empty());
            runs.push((part, String::from_utf8(bytes.to_vec()).unwrap()));
        };
        for piece in pieces {
            stream.push(piece, &mut emit);
            assert!(stream.matcher.held().len() < LONGEST);
        }
        stream.finish(&mut emit);
        merged(runs)
    }

    #[test]
    fn every_cut_of_every_sample_splits_like_the_whole() {
        let samples = [
            "<think>a < b</think><answer>yes</answer>",
            "before<think></think>between<answer></answer>after",
            "</answer>lost <thin<think>x</thinking</think></ans",
            "<<think>><</think<answer><answer>a</think>b",
            "< think>no tag</ answer><THINK>",
            "<answe",
            "",
        ];
        for sample in samples {
            let bytes = sample.as_bytes();
            let expected = expected(sample);
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    assert_eq!(
                        streamed(&pieces),
                        expected,
                        "{sample:?} at {first}, {second}"
                    );
                }
            }
            let singles: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(streamed(&singles), expected, "{sample:?}");
        }
    }

    #[test]
    fn what_the_rules_do_not_know_is_text() {
        let text = b"about <think> and </answer>";
        let mut stream = TagStream::new(Part::Outside, TagRules::NONE);
        let mut shown = Vec::new();
        stream.push(text, |part, bytes| {
            assert_eq!(part, Part::Outside);
            shown.extend_from_slice(bytes);
        });
        stream.finish(|_, _| panic!("nothing is held back"));
        assert_eq!(shown, text);
    }

    #[test]
    fn a_prompt_may_have_opened_the_thought() {
        let mut stream = TagStream::new(Part::Thinking, TagRules::SPELT);
        let mut parts = Vec::new();
        stream.push(b"hm</think>yes", |part, bytes| {
            parts.push((part, bytes.to_vec()))
        });
        let thought = (Part::Thinking, b"hm".to_vec());
        assert_eq!(parts, [thought, (Part::Outside, b"yes".to_vec())]);
    }
}
