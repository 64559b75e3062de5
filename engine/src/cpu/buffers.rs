//! The memory of one session, as the plan cuts it.

use crate::EngineError;
use crate::execute::Traffic;
use crate::execute::router::Choice;
use crate::kv::RowLayout;
use crate::storage::BlockStorage;

use super::activation::Activation;
use super::arena::Arena;
use super::cache::Cache;
use super::mlp::ExpertStore;
use super::model::Model;
use super::plan::{Plan, Sizes};

/// All that a session changes while it computes.
#[derive(Debug)]
pub(super) struct Memory<'a> {
    pub(super) buffers: Buffers<'a>,
    pub(super) cache: Cache<'a>,
    pub(super) experts: ExpertStore<'a>,
    pub(super) traffic: Traffic,
    /// Digest of the last call's expert choices.
    pub(super) routing: u64,
}

/// Room for the numbers of one batch.
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
}

/// Where the tokens of one call stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// How many tokens.
    pub(super) tokens: usize,
    /// Position of the first.
    pub(super) position: usize,
}

impl<'a> Memory<'a> {
    /// Carves `arena` for sessions of `model`, whose experts are read in place
    /// or, if there is a `storage`, from there.
    pub(super) fn carve(
        model: &Model<'_>,
        storage: Option<&'a mut dyn BlockStorage>,
        plan: &Plan,
        arena: &mut Arena<'a>,
    ) -> Result<Self, EngineError> {
        let sizes: &Sizes = &plan.sizes;
        let kv_bytes = usize::try_from(plan.kv_bytes()).map_err(|_| EngineError::PlanTooLarge)?;
        let context = plan.options.context as usize;
        let layout = RowLayout::new(&model.config, plan.options.kv);
        Ok(Self {
            buffers: Buffers::carve(sizes, arena)?,
            cache: Cache::new(arena.take(kv_bytes)?, layout, context),
            experts: ExpertStore::carve(&model.blob, storage, sizes, arena)?,
            traffic: Traffic::default(),
            routing: 0,
        })
    }
}

impl<'a> Buffers<'a> {
    fn carve(sizes: &Sizes, arena: &mut Arena<'a>) -> Result<Self, EngineError> {
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
        })
    }
}
