//! Completions by our own engine: what the device would say.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;

use briquette_engine::quant::KvFormat;
use briquette_engine::text::{Guide, GuideOptions, Part, Sampler, SamplerOptions, TagRules};
use briquette_engine::{EngineError, Plan, PlanOptions, Session};

use super::spread::spread;
use crate::chat::{GenerateError, TextError, TextModel};
use crate::checkpoint::{self, CheckpointError};
use crate::pack::{FormatChoice, PackError, PackOptions, WeightFormat, pack};
use crate::run::{Arena, BriqFile, LoadError};

/// A checkpoint packed for rollouts.
#[derive(Debug)]
pub struct Player {
    file: BriqFile,
}

/// How completions are sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlayOptions {
    /// Completions of each prompt.
    pub group: usize,
    /// 0 takes the most likely token always.
    pub temperature: f32,
    /// Decides the samples, whatever the number of threads.
    pub seed: u64,
    /// Most tokens of a completion.
    pub max_tokens: usize,
    /// The token that ends a completion.
    pub end: u32,
    /// Whether every completion is held to one thought and one answer.
    pub guarantee: bool,
    /// Threads to work with.
    pub threads: NonZeroUsize,
}

/// What follows a prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Completion {
    /// The tokens, with the one that ends the text if it came.
    pub tokens: Vec<u32>,
    /// The logarithm of each token's probability at temperature 1.
    pub log_probs: Vec<f32>,
}

/// Why rollouts failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// The checkpoint could not be opened.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint could not be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The briquette could not be opened.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer is broken.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The engine refused.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl From<EngineError> for RolloutError {
    fn from(error: EngineError) -> Self {
        Self::Generate(error.into())
    }
}

impl Player {
    /// Packs the Hugging Face folder `source` into the file `briq`.
    ///
    /// # Errors
    /// If that fails.
    pub fn pack(
        source: &Path,
        briq: &Path,
        weights: WeightFormat,
        kv: KvFormat,
        context: usize,
    ) -> Result<Self, RolloutError> {
        let mut source = checkpoint::open(source)?;
        let options = PackOptions {
            mtp: false,
            formats: FormatChoice::new(weights),
            kv,
            context: context as u32,
            batch: 32,
            target: None,
            summary: String::new(),
        };
        pack(
            &mut source,
            &options,
            briq,
            |_, _| ControlFlow::Continue(()),
        )?;
        let file = BriqFile::open(briq)?;
        Ok(Self { file })
    }

    /// Completes every prompt `options.group` times.
    ///
    /// # Errors
    /// If a prompt and its completion do not fit the context, or logits are
    /// broken.
    pub fn play(
        &self,
        prompts: &[Vec<u32>],
        options: &PlayOptions,
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let groups = spread(options.threads, prompts.len(), |mine| {
            match self.play_some(prompts, mine, options) {
                Ok(groups) => groups.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            }
        });
        groups.into_iter().collect()
    }

    fn play_some(
        &self,
        prompts: &[Vec<u32>],
        mine: &mut dyn Iterator<Item = usize>,
        options: &PlayOptions,
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let blob = self.file.blob()?;
        let text = TextModel::new(&blob)?;
        let guide = GuideOptions {
            guarantee: true,
            thinking: u32::MAX,
            // The token that ends the text comes on top.
            total: options.max_tokens.saturating_sub(1) as u32,
            start: Part::Outside,
            rules: TagRules::SPELT,
        };
        let guide = options
            .guarantee
            .then(|| Guide::new(*text.tokenizer(), text.stops().clone(), guide))
            .transpose()
            .map_err(GenerateError::from)?;
        let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()))?;
        let mut arena = Arena::for_plan(&plan)?;
        let mut session = Session::new(blob, &plan, arena.bytes_mut())?;
        let mut groups = Vec::new();
        for index in mine {
            let prompt = &prompts[index];
            session.truncate(0);
            let first = session.prefill(prompt)?.to_vec();
            let mut group = Vec::with_capacity(options.group);
            for member in 0..options.group {
                session.truncate(prompt.len());
                let number = (index * options.group + member) as u64;
                let mut sampler = Sampler::new(SamplerOptions {
                    temperature: options.temperature,
                    // The generator mixes its seed: neighbours are unrelated.
                    seed: options.seed.wrapping_mul(1 << 32).wrapping_add(number),
                    ..SamplerOptions::default()
                });
                let guide = guide.clone();
                group.push(complete(
                    &mut session,
                    &first,
                    &mut sampler,
                    guide,
                    options,
                )?);
            }
            groups.push(group);
        }
        Ok(groups)
    }
}

/// Continues from `first`, the logits after the prompt.
fn complete(
    session: &mut Session<'_>,
    first: &[f32],
    sampler: &mut Sampler,
    mut guide: Option<Guide<'_>>,
    options: &PlayOptions,
) -> Result<Completion, RolloutError> {
    let mut completion = Completion::default();
    let mut logits = first.to_vec();
    let mut order = vec![0; logits.len()];
    loop {
        if let Some(guide) = &guide {
            guide.constrain(&mut logits);
        }
        let normalizer = log_sum_exp(&logits);
        let before = logits.clone();
        let token = sampler
            .sample(&mut logits, &mut order, &[])
            .map_err(GenerateError::from)?;
        completion.tokens.push(token);
        if let Some(guide) = &mut guide {
            guide.take(token);
        }
        let chosen = f64::from(before[token as usize]);
        completion.log_probs.push((chosen - normalizer) as f32);
        if token == options.end || completion.tokens.len() == options.max_tokens {
            return Ok(completion);
        }
        logits.copy_from_slice(session.decode(token)?);
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
    let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}
