//! The rules of an answer: which tokens end it, which of them are shown, how
//! many there can be.

use super::section::Column;
use super::tags::Tag;
use super::tokenizer::Tokenizer;

/// Stop tokens that a manifest can hold.
pub const MAX_STOP_TOKENS: usize = 16;

/// The stop tokens: an answer ends where the model chooses one of them.
///
/// Three places may each name tokens that the others do not: the briquette's
/// manifest, the stops that its tokenizer's section lists, and that section's
/// end of text. [`Blob::stops`](crate::blob::Blob::stops) has them all.
#[derive(Debug, Clone)]
pub struct Stops<'a> {
    manifest: heapless::Vec<u32, MAX_STOP_TOKENS>,
    section: Column<'a>,
    eos: Option<u32>,
}

impl<'a> Stops<'a> {
    /// Those of a `manifest` (the first [`MAX_STOP_TOKENS`]) and a tokenizer.
    pub fn new(manifest: &[u32], tokenizer: &Tokenizer<'a>) -> Self {
        let manifest = manifest.get(..MAX_STOP_TOKENS).unwrap_or(manifest);
        Self {
            manifest: heapless::Vec::from_slice(manifest).unwrap_or_default(),
            section: tokenizer.section.stops,
            eos: tokenizer.eos(),
        }
    }

    /// All of them; a token may come more than once. End of text, where the
    /// tokenizer has one, comes first.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let manifest = self.manifest.iter().copied();
        self.eos
            .into_iter()
            .chain(self.section.iter())
            .chain(manifest)
    }

    /// Whether an answer ends at `token`.
    pub fn contains(&self, token: u32) -> bool {
        self.iter().any(|stop| stop == token)
    }

    /// The token to end an answer with: end of text, else the first that there
    /// is.
    pub fn first(&self) -> Option<u32> {
        self.iter().next()
    }
}

impl<'a> Tokenizer<'a> {
    /// The bytes of a token that people are shown, or that are a tag: `None`
    /// for tokens of the protocol, such as the end of a turn, which have no
    /// text. What tags are is for a [`TagStream`](super::TagStream) to say.
    pub fn shown_bytes(&self, token: u32) -> Option<&'a [u8]> {
        let bytes = self.token_bytes(token);
        let is_tag = Tag::ALL.iter().any(|tag| tag.text().as_bytes() == bytes);
        (is_tag || !self.flags(token).special).then_some(bytes)
    }
}

/// Tokens that an answer to `prompt` tokens can have at most where the cache
/// holds `context`: the last one need not be computed, so it takes no place.
pub const fn answer_room(context: usize, prompt: usize) -> usize {
    context.saturating_add(1).saturating_sub(prompt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Aligned;
    use crate::blob::Blob;

    static MODEL: Aligned<[u8; 148_608]> = Aligned(*include_bytes!("../../examples/sentry.briq"));

    fn tokenizer() -> Tokenizer<'static> {
        let blob = Blob::open(&MODEL.0).unwrap();
        Tokenizer::new(blob.tokenizer_section()).unwrap()
    }

    #[test]
    fn an_answer_ends_at_a_token_that_only_one_place_names() {
        let tokenizer = tokenizer();
        let eos = tokenizer.eos().unwrap();
        let manifest = [99, 100];
        let stops = Stops::new(&manifest, &tokenizer);
        assert_eq!(stops.first(), Some(eos));
        for token in tokenizer.section_stops().chain(manifest).chain([eos]) {
            assert!(stops.contains(token), "{token}");
        }
        assert!(!stops.contains(98));
        let blob = Blob::open(&MODEL.0).unwrap();
        assert!(blob.stops(&tokenizer).contains(eos));
    }

    #[test]
    fn tags_are_shown_and_other_control_tokens_are_not() {
        let tokenizer = tokenizer();
        assert_eq!(tokenizer.shown_bytes(tokenizer.bos().unwrap()), None);
        assert_eq!(tokenizer.shown_bytes(tokenizer.eos().unwrap()), None);
        for text in ["<think>", "</answer>", " pump"] {
            let token = tokenizer.id_of(text.as_bytes()).unwrap();
            assert_eq!(tokenizer.shown_bytes(token), Some(text.as_bytes()));
        }
    }

    #[test]
    fn the_last_token_of_an_answer_takes_no_place() {
        assert_eq!(answer_room(8, 8), 1);
        assert_eq!(answer_room(8, 0), 9);
        assert_eq!(answer_room(8, 9), 0);
    }
}
