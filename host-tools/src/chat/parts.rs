//! Thinking and answer, told apart while a model writes them.

use briquette_engine::text::{Part, TagRules, TagStream, Tokenizer, Utf8Stream};

/// Turns tokens into text and tells which part of the answer it belongs to.
#[derive(Debug)]
pub struct PartStream<'a> {
    tokenizer: Tokenizer<'a>,
    tags: TagStream,
    utf8: Utf8Stream,
    part: Part,
}

impl<'a> PartStream<'a> {
    /// A stream that starts inside `part`, with tags told from text by `rules`.
    pub fn new(tokenizer: Tokenizer<'a>, part: Part, rules: TagRules) -> Self {
        Self {
            tokenizer,
            tags: TagStream::new(part, rules),
            utf8: Utf8Stream::new(),
            part,
        }
    }

    /// Takes a token; calls `emit` with the text that is certain now. Tokens of
    /// the protocol have no text; tags separate the parts.
    pub fn push(&mut self, token: u32, mut emit: impl FnMut(Part, &str)) {
        let Some(bytes) = self.tokenizer.shown_bytes(token) else {
            return;
        };
        let (utf8, last) = (&mut self.utf8, &mut self.part);
        self.tags.push_token(token, bytes, |part, bytes| {
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
