//! Tokens in, logits out.

use crate::EngineError;
use crate::blob::{Blob, ModelConfig, Role};
use crate::execute::router::Choice;
use crate::execute::{Logits, Traffic};
use crate::kernels::{Isa, norm, rope};
use crate::kv::RowLayout;
use crate::quant::{KvFormat, Matrix};
use crate::storage::BlockStorage;

use super::activation::Activation;
use super::arena::Arena;
use super::cache::Cache;
use super::experts::ExpertStore;
use super::layer::{AttentionTensors, Layer};
use super::linear::{panel_len, project, read_panel};
use super::mtp::Mtp;
use super::plan::{Plan, Sizes};
use super::team::Team;

/// The decoder of one model, with the memory of one session.
#[derive(Debug)]
pub(crate) struct Decoder<'a, T> {
    pub(super) blob: Blob<'a>,
    pub(super) config: ModelConfig,
    pub(super) team: T,
    pub(super) isa: Isa,
    pub(super) buffers: Buffers<'a>,
    pub(super) experts: ExpertStore<'a>,
    pub(super) traffic: Traffic,
    /// Digest of the last call's expert choices.
    pub(super) routing: u64,
    pub(super) model: ModelTensors<'a>,
    /// What guesses ahead, if it was planned for.
    pub(super) mtp: Option<Mtp<'a>>,
    kv: KvFormat,
    arena_used: u64,
}

/// The tensors that belong to no layer.
#[derive(Debug)]
pub(super) struct ModelTensors<'a> {
    pub(super) embedding: Matrix<'a>,
    inverse_frequencies: &'a [f32],
    pub(super) final_norm: &'a [f32],
    head: Matrix<'a>,
}

/// All working memory.
#[derive(Debug)]
pub(super) struct Buffers<'a> {
    pub(super) residual: &'a mut [f32],
    pub(super) input: Activation<'a>,
    pub(super) middle: Activation<'a>,
    pub(super) query: &'a mut [f32],
    pub(super) key_value: &'a mut [f32],
    pub(super) cos: &'a mut [f32],
    pub(super) sin: &'a mut [f32],
    pub(super) panel: &'a mut [f32],
    pub(super) second_panel: &'a mut [f32],
    pub(super) partials: &'a mut [f32],
    pub(super) router: &'a mut [f32],
    pub(super) choices: &'a mut [Choice],
    pub(super) picked: &'a mut [u32],
    pub(super) picked_weights: &'a mut [f32],
    pub(super) logits: &'a mut [f32],
    pub(super) cache: Cache<'a>,
}

/// Where the tokens of one call stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// How many tokens.
    pub(super) tokens: usize,
    /// Position of the first.
    pub(super) position: usize,
}

impl<'a, T: Team> Decoder<'a, T> {
    /// Carves `arena` for sessions of `blob`'s model, whose experts are read in
    /// place or, if there is a `storage`, from there.
    ///
    /// # Errors
    /// If the arena is smaller than the plan or badly aligned, the experts are
    /// nowhere, or `storage` does not hold the same briquette.
    pub fn new(
        blob: Blob<'a>,
        storage: Option<&'a mut dyn BlockStorage>,
        plan: &Plan,
        arena: &'a mut [u8],
        team: T,
        isa: Isa,
    ) -> Result<Self, EngineError> {
        let config = blob.manifest().config;
        let got = arena.len() as u64;
        let needed = plan.arena_bytes();
        if got < needed {
            return Err(EngineError::NeedsMemory { needed, got });
        }
        let mut arena = Arena::new(arena)?;
        let buffers = Buffers::carve(&config, plan, &mut arena)?;
        let experts = ExpertStore::carve(&blob, storage, &plan.sizes, &mut arena)?;
        let mtp = Mtp::carve(&blob, &config, &plan.sizes, &mut arena)?;
        Ok(Self {
            model: ModelTensors::new(&blob)?,
            blob,
            config,
            team,
            isa,
            buffers,
            experts,
            mtp,
            traffic: Traffic::default(),
            routing: 0,
            kv: plan.options.kv,
            arena_used: arena.used(),
        })
    }

    /// The model's file.
    pub const fn blob(&self) -> &Blob<'a> {
        &self.blob
    }

    /// Tokens that the cache holds.
    pub const fn context(&self) -> usize {
        self.buffers.cache.context()
    }

    /// Layers that have rows in the cache.
    pub(crate) const fn cached_layers(&self) -> usize {
        self.config.num_hidden_layers as usize + self.mtp.is_some() as usize
    }

    /// The cache's memory.
    pub(crate) const fn cache(&self) -> &Cache<'a> {
        &self.buffers.cache
    }

    /// As [`Self::cache`], to be filled.
    pub(crate) const fn cache_mut(&mut self) -> &mut Cache<'a> {
        &mut self.buffers.cache
    }

    /// Number format of the cache.
    pub(crate) const fn kv_format(&self) -> KvFormat {
        self.kv
    }

    /// Tokens that one call takes at most.
    pub fn batch(&self) -> usize {
        self.buffers.residual.len() / (self.config.hidden_size as usize).max(1)
    }

    /// Tokens whose logits one call can keep.
    pub fn logits_rows(&self) -> usize {
        self.buffers.logits.len() / panel_len(self.config.vocab_size as usize, 1).max(1)
    }

    /// Bytes of the arena in use: the high-water mark.
    pub const fn arena_used(&self) -> u64 {
        self.arena_used
    }

    /// What all calls so far have read.
    pub const fn traffic(&self) -> Traffic {
        Traffic {
            storage: self.experts.traffic(),
            ..self.traffic
        }
    }

    /// A digest of the experts that the last call's tokens chose, in all
    /// layers: equal digests, equal choices (but for a chance of 2^-64).
    pub const fn routing_digest(&self) -> u64 {
        self.routing
    }

    /// Runs `tokens` (at most a batch) through all layers; the first stands at
    /// `position`. Afterwards [`Self::logits`] has what was asked for.
    ///
    /// # Errors
    /// If there are no tokens, one does not exist, or they do not fit.
    pub fn forward(
        &mut self,
        tokens: &[u32],
        position: usize,
        logits: Logits,
    ) -> Result<(), EngineError> {
        self.check(tokens, position)?;
        if let Some(first) = tokens.first() {
            self.catch_up(position, *first)?;
        }
        self.run(tokens, position, logits)
    }

    /// Forgets what guessing ahead knows of tokens after the first `position`.
    pub(crate) fn truncate(&mut self, position: usize) {
        if let Some(mtp) = &mut self.mtp {
            mtp.truncate(position);
        }
    }

    /// Tells guessing ahead that the cache was filled with `count` tokens.
    pub(crate) fn restored(&mut self, count: usize) {
        if let Some(mtp) = &mut self.mtp {
            mtp.restore(count);
        }
    }

    /// The last token's logits, after a call with [`Logits::Last`].
    pub fn logits(&self) -> &[f32] {
        let vocab = self.config.vocab_size as usize;
        self.buffers.logits.get(..vocab).unwrap_or_default()
    }

    /// As [`Self::logits`], to be changed by a sampler.
    pub fn logits_mut(&mut self) -> &mut [f32] {
        let vocab = self.config.vocab_size as usize;
        self.buffers.logits.get_mut(..vocab).unwrap_or_default()
    }

    /// Copies the logits of token `index` of the last call, which asked for
    /// [`Logits::All`] of `tokens` tokens.
    pub fn read_logits(&self, tokens: usize, index: usize, out: &mut [f32]) {
        read_panel(self.buffers.logits, tokens, index, out);
    }

    pub(super) fn check(&self, tokens: &[u32], position: usize) -> Result<(), EngineError> {
        if tokens.is_empty() || tokens.len() > self.batch() {
            return Err(EngineError::NoTokens);
        }
        let needed = position as u64 + tokens.len() as u64;
        if needed > self.context() as u64 {
            return Err(EngineError::ContextFull {
                context: self.context() as u32,
                needed,
            });
        }
        let vocab_size = self.config.vocab_size;
        match tokens.iter().find(|token| **token >= vocab_size) {
            Some(token) => Err(EngineError::UnknownToken {
                token: *token,
                vocab_size,
            }),
            None => Ok(()),
        }
    }

    fn run(&mut self, tokens: &[u32], position: usize, logits: Logits) -> Result<(), EngineError> {
        let step = Step {
            tokens: tokens.len(),
            position,
        };
        self.routing = 0;
        self.embed(tokens);
        self.compute_angles(&step);
        for index in 0..self.config.num_hidden_layers as usize {
            self.layer(index, &step)?;
        }
        self.keep_hidden(tokens, position);
        let norm = self.model.final_norm;
        match logits {
            Logits::None => {}
            Logits::Last => self.head(step.tokens - 1, 1, norm),
            Logits::All => self.head(0, step.tokens, norm),
        }
        Ok(())
    }

    /// Layer `index`, on the residual stream.
    pub(super) fn layer(&mut self, index: usize, step: &Step) -> Result<(), EngineError> {
        let layer = Layer::new(&self.blob, index)?;
        self.normalize(layer.attention_norm, step.tokens);
        match &layer.attention {
            AttentionTensors::Mla(mla) => self.latent_attention(index, mla, step)?,
            AttentionTensors::Gqa(gqa) => self.grouped_attention(index, gqa, step)?,
        }
        self.add_output(&layer.output, layer.output_bias, step.tokens);
        self.normalize(layer.mlp_norm, step.tokens);
        self.mlp(&layer.mlp, step.tokens)
    }

    fn embed(&mut self, tokens: &[u32]) {
        let embedding = &self.model.embedding;
        let rows = self
            .buffers
            .residual
            .chunks_mut((self.config.hidden_size as usize).max(1));
        for (token, row) in tokens.iter().zip(rows) {
            embedding.decode_row(*token as usize, row);
        }
        self.traffic.weights += (embedding.row_bytes() * tokens.len()) as u64;
    }

    pub(super) fn compute_angles(&mut self, step: &Step) {
        let half = self.config.rope_dim() as usize / 2;
        for token in 0..step.tokens {
            let angles = token * half..(token + 1) * half;
            let (cos, sin) = (&mut self.buffers.cos, &mut self.buffers.sin);
            if let (Some(cos), Some(sin)) = (cos.get_mut(angles.clone()), sin.get_mut(angles)) {
                rope::angles(
                    (step.position + token) as u32,
                    self.model.inverse_frequencies,
                    self.config.rope_attention_factor,
                    cos,
                    sin,
                );
            }
        }
    }

    /// `input = rms_norm(residual)`, quantised.
    pub(super) fn normalize(&mut self, weight: &[f32], tokens: usize) {
        let hidden = self.config.hidden_size as usize;
        let eps = self.config.rms_norm_eps;
        let isa = self.isa;
        let residual = &*self.buffers.residual;
        let input = &mut self.buffers.input;
        input.fill(&self.team, isa, [tokens, hidden], |token, out| {
            let row = residual.chunks(hidden.max(1)).nth(token);
            norm::rms_norm(isa, row.unwrap_or_default(), weight, eps, out);
        });
        self.traffic.weights += size_of_val(weight) as u64;
    }

    /// Logits of `count` tokens from token `first` on, after the norm `norm`.
    pub(super) fn head(&mut self, first: usize, count: usize, norm: &[f32]) {
        let hidden = self.config.hidden_size as usize;
        if first > 0 {
            // Downwards, so that nothing is overwritten before it is read.
            for (to, from) in (first * hidden..).take(count * hidden).enumerate() {
                if let Some(value) = self.buffers.residual.get(from).copied()
                    && let Some(place) = self.buffers.residual.get_mut(to)
                {
                    *place = value;
                }
            }
        }
        self.normalize(norm, count);
        let head = self.model.head;
        self.traffic.weights += head.bytes().len() as u64;
        project(
            &self.team,
            self.isa,
            &head,
            &self.buffers.input.inputs(),
            self.buffers.logits,
        );
    }
}

impl<'a> ModelTensors<'a> {
    fn new(blob: &Blob<'a>) -> Result<Self, EngineError> {
        let tensors = &mut blob.model_tensors();
        let mut take = |role| tensors.take(role);
        let embedding = take(Role::Embedding)
            .and_then(|tensor| tensor.matrix(0))
            .ok_or(EngineError::MissingTensor)?;
        let inverse_frequencies = take(Role::RopeInverseFrequency);
        let final_norm = take(Role::FinalNorm);
        let head = take(Role::LmHead).and_then(|tensor| tensor.matrix(0));
        Ok(Self {
            embedding,
            inverse_frequencies: inverse_frequencies.map_or(&[], |tensor| tensor.vector()),
            final_norm: final_norm.map_or(&[], |tensor| tensor.vector()),
            head: head.unwrap_or(embedding),
        })
    }
}

impl<'a> Buffers<'a> {
    fn carve(
        config: &ModelConfig,
        plan: &Plan,
        arena: &mut Arena<'a>,
    ) -> Result<Self, EngineError> {
        let sizes: &Sizes = &plan.sizes;
        let kv_bytes = usize::try_from(plan.kv_bytes()).map_err(|_| EngineError::PlanTooLarge)?;
        Ok(Self {
            residual: arena.take(sizes.residual)?,
            input: Activation::carve(arena, sizes.input)?,
            middle: Activation::carve(arena, sizes.middle)?,
            query: arena.take(sizes.query)?,
            key_value: arena.take(sizes.key_value)?,
            cos: arena.take(sizes.angles)?,
            sin: arena.take(sizes.angles)?,
            panel: arena.take(sizes.panel)?,
            second_panel: arena.take(sizes.second_panel)?,
            partials: arena.take(sizes.partials)?,
            router: arena.take(sizes.router)?,
            choices: arena.take(sizes.choices)?,
            picked: arena.take(sizes.picked)?,
            picked_weights: arena.take(sizes.picked)?,
            logits: arena.take(sizes.logits)?,
            cache: Cache::new(
                arena.take(kv_bytes)?,
                RowLayout::new(config, plan.options.kv),
                plan.options.context as usize,
            ),
        })
    }
}
