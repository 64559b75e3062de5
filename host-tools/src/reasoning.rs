//! Thinking and answer, apart, while a model writes them.

use briquette_engine::text::{Part, Tag, TagStream, Tokenizer, Utf8Stream};

/// Turns tokens into text and tells which part of the answer it belongs to.
#[derive(Debug)]
pub struct PartStream<'a> {
    tokenizer: Tokenizer<'a>,
    tags: TagStream,
    utf8: Utf8Stream,
    part: Part,
}

impl<'a> PartStream<'a> {
    /// A stream that starts inside `part`.
    pub fn new(tokenizer: Tokenizer<'a>, part: Part) -> Self {
        Self {
            tokenizer,
            tags: TagStream::new(part),
            utf8: Utf8Stream::new(),
            part,
        }
    }

    /// Takes a token; calls `emit` with the text that is certain now. Tokens of
    /// the protocol have no text; tags separate the parts.
    pub fn push(&mut self, token: u32, mut emit: impl FnMut(Part, &str)) {
        let bytes = self.tokenizer.token_bytes(token);
        let is_tag = Tag::ALL.iter().any(|tag| tag.text().as_bytes() == bytes);
        if self.tokenizer.flags(token).special && !is_tag {
            return;
        }
        let (utf8, last) = (&mut self.utf8, &mut self.part);
        self.tags.push(bytes, |part, bytes| {
            if part != *last {
                utf8.finish(|text| emit(*last, text));
                *last = part;
            }
            utf8.push(bytes, |text| emit(part, text));
        });
    }

    /// Ends the text.
    pub fn finish(&mut self, mut emit: impl FnMut(Part, &str)) {
        let (utf8, last) = (&mut self.utf8, &mut self.part);
        self.tags.finish(|part, bytes| {
            if part != *last {
                utf8.finish(|text| emit(*last, text));
                *last = part;
            }
            utf8.push(bytes, |text| emit(part, text));
        });
        self.utf8.finish(|text| emit(self.part, text));
    }
}

/// The part that a prompt leaves the model in: some chat templates open the
/// thought themselves.
pub fn part_after(tokenizer: &Tokenizer<'_>, prompt: &[u32]) -> Part {
    // A tag and the line break behind it take a few tokens at most.
    let tail = prompt.len().saturating_sub(16);
    let mut bytes = Vec::new();
    tokenizer.decode(&prompt[tail..], false, |piece| {
        bytes.extend_from_slice(piece)
    });
    let trimmed = bytes.trim_ascii_end();
    let ends_with = |tag: Tag| trimmed.ends_with(tag.text().as_bytes());
    if ends_with(Tag::Think) {
        Part::Thinking
    } else if ends_with(Tag::Answer) {
        Part::Answer
    } else {
        Part::Outside
    }
}
