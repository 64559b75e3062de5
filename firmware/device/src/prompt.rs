//! From a person's prompt to tokens and the way to answer them.

use briquette_engine::text::{
    Guide, GuideOptions, Part, Sampler, SamplerOptions, Scratch, SingleTurn, Stops, TagRules,
    Tokenizer, answer_room,
};
use briquette_protocol::{MAX_TEXT, Prompt, Refusal};
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::NorFlash;

use super::Device;

/// Tokens of a prompt at most, with what the chat template puts around it.
pub(super) const MAX_PROMPT: usize = MAX_TEXT + 64;
/// Tokens of the largest vocabulary that can be sampled from.
pub(super) const MAX_SAMPLED: usize = 1024;

/// A prompt ready to be answered: nothing of it lies in the line's buffer.
pub(super) struct Task<'a> {
    /// The prompt's tokens, with the chat template's text around it.
    pub(super) ids: heapless::Vec<u32, MAX_PROMPT>,
    /// Tokens of the answer at most.
    pub(super) tokens: u32,
    /// What keeps the answer in its form, if asked for.
    pub(super) guide: Option<Guide<'a>>,
    /// The tokens that end it.
    pub(super) stops: Stops<'a>,
    /// How tags are told from text.
    pub(super) tags: TagRules,
    /// Where the prompt leaves the model.
    pub(super) part: Part,
    pub(super) sampler: Sampler,
    pub(super) tokenizer: Tokenizer<'a>,
}

impl<'a, L: Read + ReadReady + Write, F: NorFlash> Device<'a, L, F> {
    /// What `prompt` asks for.
    pub(super) fn task(&self, prompt: &Prompt<'_>) -> Result<Task<'a>, Refusal> {
        let tokenizer = self.tokenizer.ok_or(Refusal::NoTokenizer)?;
        if prompt.tokens == 0 {
            return Err(Refusal::Empty);
        }
        let manifest = self.session.blob().manifest();
        // A temperature that is not a number chooses as 0 does.
        let samples = prompt.temperature > 0.0;
        if samples && manifest.config.vocab_size as usize > MAX_SAMPLED {
            return Err(Refusal::Sampling);
        }
        let ids = encode(&tokenizer, manifest.chat.single_turn, prompt.text)?;
        let stops = self.session.blob().stops(&tokenizer);
        let room = answer_room(self.session.context(), ids.len());
        let tokens = prompt.tokens.min(room as u32);
        let tags = TagRules::of_model(&tokenizer, manifest.chat.template)
            .asked_for(prompt.guarantee, prompt.thinking.is_some());
        let part = tags.part_after(&tokenizer, &ids);
        let guide = GuideOptions {
            guarantee: prompt.guarantee,
            thinking: prompt.thinking.unwrap_or(u32::MAX),
            total: tokens,
            start: part,
            rules: tags,
        };
        let guided = prompt.guarantee || prompt.thinking.is_some();
        let guide = guided
            .then(|| Guide::new(tokenizer, stops.clone(), guide))
            .transpose();
        Ok(Task {
            ids,
            tokens,
            guide: guide.map_err(|_| Refusal::Form)?,
            stops,
            tags,
            part,
            sampler: Sampler::new(SamplerOptions {
                temperature: if samples { prompt.temperature } else { 0.0 },
                seed: prompt.seed,
                ..SamplerOptions::default()
            }),
            tokenizer,
        })
    }
}

/// The tokens of a prompt, with the chat template's text around it.
fn encode(
    tokenizer: &Tokenizer<'_>,
    turn: Option<SingleTurn<'_>>,
    text: &str,
) -> Result<heapless::Vec<u32, MAX_PROMPT>, Refusal> {
    if text.len() > MAX_TEXT {
        return Err(Refusal::TooLong);
    }
    let mut joined = [0; 2 * MAX_TEXT];
    let mut words = [0; 5 * MAX_TEXT];
    let mut normalized = [0; 6 * MAX_TEXT];
    let mut scratch = Scratch {
        words: &mut words,
        text: &mut normalized,
    };
    let mut ids = heapless::Vec::new();
    ids.resize_default(MAX_PROMPT)
        .map_err(|_| Refusal::TooLong)?;
    let count = tokenizer
        .encode_message(turn, text, &mut joined, &mut ids, &mut scratch)
        .map_err(|_| Refusal::TooLong)?;
    ids.truncate(count);
    if ids.is_empty() {
        return Err(Refusal::Empty);
    }
    Ok(ids)
}
