//! Text in and out of a briquette: tokenizer, chat template, decoding.

use std::ops::Range;

use briquette_engine::blob::Blob;
use briquette_engine::text::{EncodeOptions, Scratch, Stops, TagRules, Tokenizer, TokenizerError};

use super::strangers;
use crate::chat::{ChatError, ChatTemplate, Clock, Message};

/// A briquette's tokenizer and chat template.
#[derive(Debug, Clone)]
pub struct TextModel<'a> {
    tokenizer: Tokenizer<'a>,
    template: Option<ChatTemplate>,
    stops: Stops<'a>,
}

/// A prompt as the model gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The rendered text.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
}

/// Why text could not be turned into tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The file was packed without a tokenizer.
    #[error("the briquette has no tokenizer; `logits` works on token ids")]
    NoTokenizer,
    /// The tokenizer's section is broken, or refuses the text.
    #[error("tokenizer: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The chat template fails.
    #[error(transparent)]
    Chat(#[from] ChatError),
}

impl<'a> TextModel<'a> {
    /// Opens the tokenizer of `blob`.
    ///
    /// # Errors
    /// If there is none, or it is broken.
    pub fn new(blob: &Blob<'a>) -> Result<Self, TextError> {
        if blob.tokenizer_section().is_empty() {
            return Err(TextError::NoTokenizer);
        }
        let tokenizer = Tokenizer::new(blob.tokenizer_section())?;
        let source = blob.manifest().chat.template;
        let name = |id: Option<u32>| {
            let bytes = id.map(|id| tokenizer.token_bytes(id)).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let template = (!source.is_empty()).then(|| ChatTemplate {
            source: source.to_owned(),
            bos_token: name(tokenizer.bos()),
            eos_token: name(tokenizer.eos()),
            clock: Clock::System,
        });
        Ok(Self {
            stops: blob.stops(&tokenizer),
            tokenizer,
            template,
        })
    }

    /// The same, with the date that the chat template sees.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        if let Some(template) = &mut self.template {
            template.clock = clock;
        }
        self
    }

    /// The tokenizer.
    pub const fn tokenizer(&self) -> &Tokenizer<'a> {
        &self.tokenizer
    }

    /// Whether conversations can be rendered.
    pub const fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    /// The tokens at which an answer ends.
    pub const fn stops(&self) -> &Stops<'a> {
        &self.stops
    }

    /// The tags that the model separates thought and answer with.
    pub fn tag_rules(&self) -> TagRules {
        let template = self.template.as_ref();
        TagRules::of_model(
            &self.tokenizer,
            template.map_or("", |template| &template.source),
        )
    }

    /// Whether a later turn is answered with the earlier ones in mind: the
    /// template shows them, and who said what.
    pub fn has_turns(&self) -> bool {
        const SAID: [&str; 3] = ["qzv", "vqz", "zqv"];
        let render = |template: &ChatTemplate, second| {
            let roles = ["user", second, "user"];
            let messages = roles.into_iter().zip(SAID);
            let messages: Vec<Message> = messages
                .map(|(role, said)| Message::new(role, said))
                .collect();
            template.render(&messages).ok()
        };
        self.template.as_ref().is_some_and(|template| {
            let turns = render(template, "assistant");
            let shows_all = |text: &String| SAID.iter().all(|said| text.contains(said));
            turns.as_ref().is_some_and(shows_all) && turns != render(template, "user")
        })
    }

    /// The tokens of `text`.
    ///
    /// # Errors
    /// If the tokenizer refuses it.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TextError> {
        self.encode_around(text, &[], options)
    }

    /// The tokens of a plain text that a model is to continue: with the
    /// tokenizer's own tokens around it, and the names of special tokens read
    /// as these.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn raw_prompt(&self, text: &str) -> Result<Prompt, TextError> {
        let options = EncodeOptions {
            add_special: true,
            parse_special: true,
        };
        Ok(Prompt {
            ids: self.encode(text, options)?,
            text: text.to_owned(),
        })
    }

    /// A conversation, up to where the answer begins. Without a template, the
    /// messages' plain text. Special tokens come from the template alone: where
    /// a message spells one, it is text.
    ///
    /// # Errors
    /// If the template fails or the tokenizer refuses the text.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<Prompt, TextError> {
        let Some(template) = &self.template else {
            let text: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
            let text = text.join("\n");
            let options = EncodeOptions {
                add_special: true,
                parse_special: false,
            };
            let ids = self.encode(&text, options)?;
            return Ok(Prompt { text, ids });
        };
        // The template writes the tokens around the text itself.
        let options = EncodeOptions {
            add_special: false,
            parse_special: true,
        };
        let rendered = strangers::render(template, messages, &self.tokenizer)?;
        Ok(Prompt {
            ids: self.encode_around(&rendered.text, &rendered.strangers, options)?,
            text: rendered.text,
        })
    }

    fn encode_around(
        &self,
        text: &str,
        strangers: &[Range<usize>],
        options: EncodeOptions,
    ) -> Result<Vec<u32>, TextError> {
        let needed = self.tokenizer.buffers_needed(text.len());
        let mut ids = vec![0; needed.tokens];
        let mut words = vec![0; needed.words];
        let mut normalized = vec![0; needed.text];
        let mut scratch = Scratch {
            words: &mut words,
            text: &mut normalized,
        };
        let count =
            self.tokenizer
                .encode_around(text, strangers, options, &mut ids, &mut scratch)?;
        ids.truncate(count);
        Ok(ids)
    }
}
