//! Where examples come from.

use rand::seq::IndexedRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::folder::Companions;
use super::recipe::TaskRecipe;
use super::sentry::{self, Problem, Split, Word};
use super::sequence::Sequence;
use super::text::{TextCorpus, TextCorpusError};

/// A recipe's task, ready to give examples.
#[derive(Debug)]
pub enum Task {
    /// Which sensors are out of bounds?
    Sentry {
        /// Numbers of sensors in supervised examples.
        sensors: Vec<usize>,
    },
    /// Continue a text.
    Text(TextCorpus),
}

impl Task {
    /// Reads what the task needs.
    ///
    /// # Errors
    /// If a text cannot be read or is too short.
    pub fn open(recipe: &TaskRecipe) -> Result<Self, TextCorpusError> {
        match recipe {
            TaskRecipe::Sentry { sensors } => Ok(Self::Sentry {
                sensors: sensors.clone(),
            }),
            TaskRecipe::Text {
                files,
                vocab_size,
                window,
            } => TextCorpus::open(files, *vocab_size, *window).map(Self::Text),
        }
    }

    /// Tokens that the model knows.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Sentry { .. } => Word::COUNT,
            Self::Text(corpus) => corpus.vocab_size(),
        }
    }

    /// Tokenizer and chat template.
    pub fn companions(&self) -> Companions {
        match self {
            Self::Sentry { .. } => Companions {
                tokenizer: sentry::tokenizer_json(),
                chat_template: Some(sentry::CHAT_TEMPLATE),
                special: [(Word::Begin.id(), "<|bos|>"), (Word::End.id(), "<|eos|>")],
            },
            Self::Text(corpus) => corpus.companions(),
        }
    }

    /// Draws `count` supervised examples.
    pub fn examples(&self, rng: &mut Xoshiro256PlusPlus, count: usize) -> Vec<Sequence> {
        let draw = |_| match self {
            Self::Sentry { sensors } => {
                let sensors = sensors.choose(rng).copied().unwrap_or(1);
                let problem = Problem::draw(rng, sensors, Split::Training);
                let mut tokens = problem.prompt();
                let prompt = tokens.len();
                tokens.extend(sentry::draw_example(rng, &problem).1);
                Sequence {
                    tokens,
                    prompt,
                    policy: None,
                }
            }
            Self::Text(corpus) => corpus.window(rng),
        };
        (0..count).map(draw).collect()
    }
}
