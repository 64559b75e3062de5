//! How a model's tags are told from text that only spells them.

use super::Tokenizer;
use super::tags::{Part, Tag, TagStream};

/// How one tag is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Rule {
    /// Not at all: it is text.
    #[default]
    Text,
    /// By this token; spelt in other tokens it is text.
    Token(u32),
    /// By its letters, whatever tokens they come in.
    Spelt,
}

/// Which tags separate thought and answer in a model's output, and how each is
/// told from text.
///
/// A model whose tokenizer has a tag as a token of its own writes that token
/// when it means the tag. Where it has none, a model may still have learnt to
/// spell the tag; its chat template then mentions it. Any other
/// model that writes `<think>` writes *about* it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TagRules {
    rules: [Rule; 4],
}

impl TagRules {
    /// No tag: all output is text.
    pub const NONE: Self = Self {
        rules: [Rule::Text; 4],
    };
    /// Every tag, by its letters.
    pub const SPELT: Self = Self {
        rules: [Rule::Spelt; 4],
    };

    /// The tags that a model with this tokenizer and chat template writes: of
    /// each pair those that are added tokens; and by their letters, if the pair
    /// has such a token or `template` mentions it.
    pub fn of_model(tokenizer: &Tokenizer<'_>, template: &str) -> Self {
        let token = |tag: Tag| {
            let id = tokenizer.id_of(tag.text().as_bytes())?;
            tokenizer.flags(id).added.then_some(id)
        };
        let mut rules = Self::NONE;
        for (pair, tags) in rules
            .rules
            .chunks_exact_mut(2)
            .zip(Tag::ALL.chunks_exact(2))
        {
            let is_known = |tag: &Tag| token(*tag).is_some() || template.contains(tag.text());
            if !tags.iter().any(is_known) {
                continue;
            }
            for (rule, tag) in pair.iter_mut().zip(tags) {
                *rule = token(*tag).map_or(Rule::Spelt, Rule::Token);
            }
        }
        rules
    }

    /// The same for an output that must have tags: with the `guarantee` of its form
    /// every tag is known by its letters, with a `budget` of thought those that the
    /// model has no token for.
    #[must_use]
    pub fn asked_for(self, guarantee: bool, budget: bool) -> Self {
        match (guarantee, budget) {
            (true, _) => Self::SPELT,
            (false, true) => self.or_spelt(),
            (false, false) => self,
        }
    }

    /// The same, with every other tag known by its letters.
    fn or_spelt(mut self) -> Self {
        for rule in &mut self.rules {
            if *rule == Rule::Text {
                *rule = Rule::Spelt;
            }
        }
        self
    }

    /// Whether the model marks its thoughts.
    pub fn marks_thoughts(&self) -> bool {
        self.rule(Tag::EndThink) != Rule::Text
    }

    /// The tag that `token` is.
    pub fn tag_of(&self, token: u32) -> Option<Tag> {
        let mut tags = Tag::ALL.into_iter();
        tags.find(|tag| self.rule(*tag) == Rule::Token(token))
    }

    /// Whether `tag` is known by its letters.
    pub(super) fn is_spelt(&self, tag: Tag) -> bool {
        self.rule(tag) == Rule::Spelt
    }

    /// The part that a prompt leaves the model in: some chat templates open the
    /// thought themselves.
    pub fn part_after(&self, tokenizer: &Tokenizer<'_>, prompt: &[u32]) -> Part {
        // A tag and the line breaks after it take a few tokens at most.
        let tail = prompt.len().saturating_sub(16);
        let mut stream = TagStream::new(Part::Outside, *self);
        let (mut part, mut written) = (Part::Outside, false);
        for &token in prompt.get(tail..).unwrap_or_default() {
            stream.push_token(token, tokenizer.token_bytes(token), |now, bytes| {
                written = !bytes.trim_ascii().is_empty() || (written && now == part);
                part = now;
            });
            if stream.part() != part {
                (part, written) = (stream.part(), false);
            }
        }
        if written { Part::Outside } else { part }
    }

    fn rule(&self, tag: Tag) -> Rule {
        self.rules.get(tag as usize).copied().unwrap_or_default()
    }
}
