//! Reasoning kept in its form: a budget for the thought, and a mode in which
//! the output cannot be anything but `<think>…</think><answer>…</answer>`.

use super::tags::{LONGEST, Step, Tag, TagMatcher};
use super::{EncodeOptions, Part, Scratch, Stops, TagRules, Tokenizer, TokenizerError};

/// What a guide makes sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuideOptions {
    /// The output is always one thought and one answer, each opened and
    /// closed. Without it a model may leave the form, and only `thinking` is
    /// enforced.
    pub guarantee: bool,
    /// Tokens that the model may think; then the thought is closed and the
    /// answer opened. No limit: `u32::MAX`.
    pub thinking: u32,
    /// Tokens that the whole output may have, tags included. Matters only to the
    /// guarantee, which leaves room for the tags that are still due.
    pub total: u32,
    /// The part that the prompt leaves the model in.
    pub start: Part,
    /// How the model's tags are told from text. With the guarantee every tag
    /// counts, however it is spelt.
    pub rules: TagRules,
}

/// Why an output cannot be guided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuideError {
    /// A tag cannot be written in the model's tokens.
    #[error("the model's tokenizer cannot write {tag}")]
    Unwritable {
        /// The tag.
        tag: &'static str,
    },
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tags alone are longer than the output may be.
    #[error("the tags alone take {needed} tokens, the output may have {total}")]
    TooShort {
        /// Tokens of all tags.
        needed: u32,
        /// Tokens that the output may have.
        total: u32,
    },
    /// Without a token that ends a text, there is nothing to end it with.
    #[error("the model has no token that ends a text")]
    NoEnd,
}

/// How far the output has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The model writes freely.
    Free(Part),
    /// A tag is being written, and then the next.
    Writing { tag: Tag, written: usize },
    /// Only the token that ends the text is left.
    End,
}

/// Watches an output token by token and forbids what would break its form. It
/// needs no heap.
///
/// Before each choice, [`Self::constrain`] the logits; after it, [`Self::take`]
/// the token.
#[derive(Debug, Clone)]
pub struct Guide<'a> {
    tokenizer: Tokenizer<'a>,
    options: GuideOptions,
    /// The tokens of each tag, in the order of [`Tag::ALL`].
    tags: [heapless::Vec<u32, LONGEST>; 4],
    stops: Stops<'a>,
    /// The stop token that ends a complete output.
    end: u32,
    state: State,
    matcher: TagMatcher,
    /// Tokens of the thought so far.
    thought: u32,
    /// Tokens of the output so far.
    taken: u32,
}

/// Tokens of room for an answer, if the output has as many.
const ANSWER_ROOM: u32 = 32;

impl<'a> Guide<'a> {
    /// A guide for an output that follows a prompt. None of `stops` may come
    /// before the output is complete; the first of them then ends it.
    ///
    /// # Errors
    /// If the tokenizer cannot write the tags, the model has no token that
    /// ends a text, or the output has no room for the tags.
    pub fn new(
        tokenizer: Tokenizer<'a>,
        stops: Stops<'a>,
        options: GuideOptions,
    ) -> Result<Self, GuideError> {
        let [think, end_think, answer, end_answer] = Tag::ALL.map(|tag| write(&tokenizer, tag));
        let tags = [think?, end_think?, answer?, end_answer?];
        let rules = options.rules.asked_for(options.guarantee, true);
        let guide = Self {
            tokenizer,
            options: GuideOptions { rules, ..options },
            end: stops.first().ok_or(GuideError::NoEnd)?,
            stops,
            state: match (options.guarantee, options.start) {
                (true, Part::Outside) => State::Writing {
                    tag: Tag::Think,
                    written: 0,
                },
                (_, part) => State::Free(part),
            },
            matcher: TagMatcher::new(),
            thought: 0,
            taken: 0,
            tags,
        };
        let needed: u32 = Tag::ALL.iter().map(|tag| guide.tokens_of(*tag)).sum();
        let total = options.total;
        if options.guarantee && total < needed {
            return Err(GuideError::TooShort { needed, total });
        }
        Ok(guide)
    }

    /// Whether the output is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::End
    }

    /// Forbids every token that would break the form.
    pub fn constrain(&self, logits: &mut [f32]) {
        match self.forced() {
            Some(token) => {
                for (id, logit) in logits.iter_mut().enumerate() {
                    if id != token as usize {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
            None if self.options.guarantee => self.forbid(logits),
            None => {}
        }
    }

    /// Forbids what would break the form in the middle of a part.
    fn forbid(&self, logits: &mut [f32]) {
        let closing = match self.state {
            State::Free(Part::Thinking) => Tag::EndThink,
            _ => Tag::EndAnswer,
        };
        for (id, logit) in logits.iter_mut().enumerate() {
            if !self.allows(id as u32, closing) {
                *logit = f32::NEG_INFINITY;
            }
        }
        // Tokens of the protocol, but for the closing tag if it is one.
        let specials = self.tokenizer.added.iter().filter(|token| token.special);
        let control = specials
            .filter(|token| token.text != closing.text().as_bytes())
            .map(|token| token.id)
            .chain(self.stops.iter());
        for id in control {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Takes the token that was chosen.
    pub fn take(&mut self, token: u32) {
        self.taken = self.taken.saturating_add(1);
        if self.forced() == Some(token) {
            self.take_forced();
            return;
        }
        if self.state == State::Free(Part::Thinking) {
            self.thought = self.thought.saturating_add(1);
        }
        if let Some(tag) = self.options.rules.tag_of(token) {
            self.matcher = TagMatcher::new();
            self.state = self.after(tag);
            return;
        }
        for byte in self.tokenizer.token_bytes(token) {
            if let Step::Tag(tag) = self.matcher.push(*byte, &self.options.rules) {
                self.state = self.after(tag);
            }
        }
    }

    /// The one token that may come, if there is only one.
    fn forced(&self) -> Option<u32> {
        match self.state {
            State::Writing { tag, written } => self.tag_token(tag, written),
            State::End => Some(self.end),
            State::Free(Part::Thinking) if self.must_close(Tag::EndThink) => {
                self.tag_token(Tag::EndThink, 0)
            }
            State::Free(Part::Answer) if self.must_close(Tag::EndAnswer) => {
                self.tag_token(Tag::EndAnswer, 0)
            }
            State::Free(_) => None,
        }
    }

    fn take_forced(&mut self) {
        // A tag that the model had begun to spell is written from its start.
        self.matcher = TagMatcher::new();
        let (tag, written) = match self.state {
            State::Writing { tag, written } => (tag, written + 1),
            State::Free(Part::Thinking) => (Tag::EndThink, 1),
            State::Free(_) => (Tag::EndAnswer, 1),
            State::End => return,
        };
        self.state = if self.tag_token(tag, written).is_some() {
            State::Writing { tag, written }
        } else if tag == Tag::EndThink {
            // Whether guaranteed or over budget: the answer is opened.
            State::Writing {
                tag: Tag::Answer,
                written: 0,
            }
        } else {
            self.after(tag)
        };
    }

    /// How far the output has come after a tag.
    const fn after(&self, tag: Tag) -> State {
        match tag {
            Tag::EndThink if self.options.guarantee => State::Writing {
                tag: Tag::Answer,
                written: 0,
            },
            Tag::EndAnswer if self.options.guarantee => State::End,
            _ => State::Free(tag.opens()),
        }
    }

    /// Whether the thought has used up its budget, or there is only room left for
    /// this tag and what must follow it.
    fn must_close(&self, tag: Tag) -> bool {
        if tag == Tag::EndThink && self.thought >= self.options.thinking {
            return true;
        }
        let mut needed = self.tokens_of(Tag::EndAnswer);
        if tag == Tag::EndThink {
            let tags = Tag::ALL.iter().map(|tag| self.tokens_of(*tag)).sum();
            let spare = self.options.total.saturating_sub(tags);
            needed += self.tokens_of(tag) + self.tokens_of(Tag::Answer);
            needed += ANSWER_ROOM.min(spare / 2);
        }
        let left = self.options.total.saturating_sub(self.taken);
        self.options.guarantee && left <= needed
    }

    /// Whether the bytes of `token` break no form. Spelt out in ordinary
    /// tokens, a tag is a tag: only the closing one may come, and nothing
    /// after it in the same token.
    fn allows(&self, token: u32, closing: Tag) -> bool {
        let bytes = self.tokenizer.token_bytes(token);
        if !bytes.contains(&b'>') {
            // No tag ends in here.
            return !bytes.is_empty();
        }
        let mut matcher = self.matcher;
        for (at, byte) in bytes.iter().enumerate() {
            if let Step::Tag(tag) = matcher.push(*byte, &TagRules::SPELT) {
                return tag == closing && at + 1 == bytes.len();
            }
        }
        true
    }

    fn tokens_of(&self, tag: Tag) -> u32 {
        self.tags
            .get(tag as usize)
            .map_or(0, |tokens| tokens.len() as u32)
    }

    fn tag_token(&self, tag: Tag, index: usize) -> Option<u32> {
        self.tags.get(tag as usize)?.get(index).copied()
    }
}

/// The tokens of a tag.
fn write(tokenizer: &Tokenizer<'_>, tag: Tag) -> Result<heapless::Vec<u32, LONGEST>, GuideError> {
    const ROOM: usize = 16 * LONGEST;
    let unwritable = GuideError::Unwritable { tag: tag.text() };
    let (mut ids, mut words, mut text) = ([0; ROOM], [0; ROOM], [0; ROOM]);
    let options = EncodeOptions {
        add_special: false,
        parse_special: true,
    };
    let mut scratch = Scratch {
        words: &mut words,
        text: &mut text,
    };
    let count = tokenizer.encode(tag.text(), options, &mut ids, &mut scratch)?;
    let ids = ids.get(..count).unwrap_or_default();
    let written = ids.iter().flat_map(|id| tokenizer.token_bytes(*id));
    if !written.eq(tag.text().as_bytes()) {
        return Err(unwritable);
    }
    heapless::Vec::from_slice(ids).map_err(|_| unwritable)
}
