//! The prompt of a conversation with one message, without a template language.

use serde::{Deserialize, Serialize};

use super::{EncodeOptions, Scratch, Tokenizer, TokenizerError};

/// The text that a chat template puts around one user message.
///
/// Prefix, message and suffix are joined *before* they are encoded, as one text:
/// a token may stand across a seam, so the tokens of the three, one after the
/// other, are a different prompt. [`Tokenizer::encode_message`] does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SingleTurn<'a> {
    /// Before the message.
    pub prefix: &'a str,
    /// After it: the answer follows.
    pub suffix: &'a str,
}

impl SingleTurn<'_> {
    /// Bytes of a `message` in its turn: what joining them takes.
    pub const fn joined_bytes(&self, message: &str) -> usize {
        (self.prefix.len())
            .saturating_add(message.len())
            .saturating_add(self.suffix.len())
    }
}

impl Tokenizer<'_> {
    /// Writes the ids of a prompt that is one message into `out`, and returns
    /// how many there are. Blanks around the message are dropped. Where it
    /// spells a special token, that is text: these come from `turn` alone, which
    /// is [`Chat::single_turn`](crate::blob::Chat::single_turn) of a manifest. A
    /// model without one is given the message with the tokenizer's own tokens
    /// around it.
    ///
    /// The whole text is put together in `joined`, of
    /// [`SingleTurn::joined_bytes`]; for the other buffers see
    /// [`Self::buffers_needed`] of as many bytes.
    ///
    /// # Errors
    /// If a buffer is too small.
    pub fn encode_message(
        &self,
        turn: Option<SingleTurn<'_>>,
        message: &str,
        joined: &mut [u8],
        out: &mut [u32],
        scratch: &mut Scratch<'_>,
    ) -> Result<usize, TokenizerError> {
        let options = EncodeOptions {
            // A template writes these tokens itself.
            add_special: turn.is_none(),
            parse_special: true,
        };
        let turn = turn.unwrap_or(SingleTurn {
            prefix: "",
            suffix: "",
        });
        let message = message.trim();
        let text = join([turn.prefix, message, turn.suffix], joined)?;
        let untrusted = turn.prefix.len()..turn.prefix.len() + message.len();
        self.encode_around(text, &[untrusted], options, out, scratch)
    }
}

/// The three `parts`, one after the other in `joined`.
fn join<'j>(parts: [&str; 3], joined: &'j mut [u8]) -> Result<&'j str, TokenizerError> {
    let needed = parts.iter().map(|part| part.len()).sum();
    let got = joined.len();
    let too_small = TokenizerError::NeedsJoined { needed, got };
    let text = joined.get_mut(..needed).ok_or(too_small)?;
    let bytes = parts.iter().flat_map(|part| part.bytes());
    for (place, byte) in text.iter_mut().zip(bytes) {
        *place = byte;
    }
    // Three texts in UTF-8 are one.
    str::from_utf8(text).map_err(|_| too_small)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Aligned;
    use crate::blob::Blob;

    static MODEL: Aligned<[u8; 148_608]> = Aligned(*include_bytes!("../../examples/sentry.briq"));

    /// The ids of `message` in its turn.
    fn encode(message: &str) -> ([u32; 32], usize) {
        let blob = Blob::open(&MODEL.0).unwrap();
        let tokenizer = Tokenizer::new(blob.tokenizer_section()).unwrap();
        let turn = blob.manifest().chat.single_turn;
        let (mut joined, mut ids) = ([0; 128], [0; 32]);
        let mut scratch = Scratch {
            words: &mut [0; 640],
            text: &mut [],
        };
        let count = tokenizer.encode_message(turn, message, &mut joined, &mut ids, &mut scratch);
        (ids, count.unwrap())
    }

    /// The blank that ends the template's prefix is the word's, which encoding
    /// the parts on their own would not give.
    #[test]
    fn a_token_may_stand_across_a_seam() {
        let (ids, count) = encode(" pump 17 ");
        assert_eq!(ids[..count], [0, 20, 45]);
        // Spelt by a person, a control token is text.
        let (ids, count) = encode("<|bos|>");
        assert!(!ids[1..count].contains(&0));
    }

    #[test]
    fn parts_are_joined_to_the_byte_or_not_at_all() {
        let parts = ["<u>", "né", "</u>"];
        let needed = 10;
        assert_eq!(join(parts, &mut [0; 12]), Ok("<u>né</u>"));
        assert_eq!(join(parts, &mut [0; 10]), Ok("<u>né</u>"));
        assert_eq!(
            join(parts, &mut [0; 9]),
            Err(TokenizerError::NeedsJoined { needed, got: 9 })
        );
        let turn = SingleTurn {
            prefix: parts[0],
            suffix: parts[2],
        };
        assert_eq!(turn.joined_bytes(parts[1]), needed);
    }
}
