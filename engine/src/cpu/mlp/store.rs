//! Where routed experts come from: the mapped file, or slots in memory that
//! are filled from storage.

use core::fmt;

use crate::EngineError;
use crate::blob::Blob;
use crate::execute::StorageTraffic;
use crate::execute::slots::{Slot, SlotTable, expert_offset};
use crate::storage::{BlockStorage, check_file, read};

use crate::cpu::arena::Arena;
use crate::cpu::layer::{ExpertTensors, Gated};
use crate::cpu::plan::Sizes;

/// Where routed experts come from.
#[derive(Debug)]
pub(in crate::cpu) enum ExpertStore<'a> {
    /// The file, in place.
    Mapped,
    /// Slots filled from storage.
    Stored(Slots<'a>),
}

/// Room for some experts in memory.
pub(in crate::cpu) struct Slots<'a> {
    storage: &'a mut dyn BlockStorage,
    table: SlotTable<&'a mut [Slot]>,
    memory: &'a mut [u8],
    payload_offset: u64,
}

impl<'a> ExpertStore<'a> {
    /// Carves the slots of a plan, for the experts of `blob`.
    pub(in crate::cpu) fn carve(
        blob: &Blob<'_>,
        storage: Option<&'a mut dyn BlockStorage>,
        sizes: &Sizes,
        arena: &mut Arena<'a>,
    ) -> Result<Self, EngineError> {
        let table = arena.take(sizes.slots)?;
        let memory = arena.take(sizes.slots * sizes.slot)?;
        if blob.manifest().expert_sizes().count == 0 {
            return Ok(Self::Mapped);
        }
        match storage {
            None if blob.lacks_experts() => Err(EngineError::NoExperts),
            None => Ok(Self::Mapped),
            Some(storage) => {
                let slots = Slots::new(blob, sizes.layers, storage, table, memory)?;
                Ok(Self::Stored(slots))
            }
        }
    }

    /// Whether all experts are in memory.
    pub(in crate::cpu) const fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped)
    }

    /// Expert `expert` of a layer. `later` tells whether the current batch will
    /// ask for an expert of this layer after this one.
    pub(in crate::cpu) fn expert(
        &mut self,
        tensors: &ExpertTensors<'a>,
        expert: u32,
        later: impl Fn(u32) -> bool,
    ) -> Result<Gated<'_>, EngineError> {
        match self {
            Self::Mapped => Gated::mapped(tensors, expert),
            Self::Stored(slots) => Gated::in_slot(tensors, slots.fetch(tensors, expert, later)?),
        }
    }

    /// What it has cost so far.
    pub(in crate::cpu) const fn traffic(&self) -> StorageTraffic {
        match self {
            Self::Mapped => StorageTraffic {
                hits: 0,
                misses: 0,
                bytes: 0,
            },
            Self::Stored(slots) => slots.table.traffic(),
        }
    }
}

impl<'a> Slots<'a> {
    fn new(
        blob: &Blob<'_>,
        layers: usize,
        storage: &'a mut dyn BlockStorage,
        table: &'a mut [Slot],
        memory: &'a mut [u8],
    ) -> Result<Self, EngineError> {
        if table.is_empty() {
            return Err(EngineError::EmptyPlan {
                field: "expert_slots",
            });
        }
        check_file(storage, blob)?;
        Ok(Self {
            storage,
            table: SlotTable::new(table, blob.moe_layers(layers)),
            memory,
            payload_offset: blob.payload_offset(),
        })
    }

    /// The bytes of one whole expert.
    fn fetch(
        &mut self,
        tensors: &ExpertTensors<'_>,
        expert: u32,
        later: impl Fn(u32) -> bool,
    ) -> Result<&[u8], EngineError> {
        let gate = tensors.gate.record();
        let layer = tensors.moe_layer;
        let bytes = usize::try_from(gate.stride).map_err(|_| EngineError::PlanTooLarge)?;
        let (index, is_there) = self.table.slot_for(layer, expert, later);
        let room = slot(self.memory, self.table.len(), index, bytes)?;
        if is_there {
            self.table.reuse(index);
        } else {
            let offset = expert_offset(self.payload_offset, gate, expert);
            let name = [layer as u32, expert];
            self.table.refill(index, name, gate.stride, || {
                read(self.storage, offset, room)
            })?;
        }
        Ok(room)
    }
}

impl fmt::Debug for Slots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// The first `bytes` bytes of slot `index` of `count`.
fn slot(
    memory: &mut [u8],
    count: usize,
    index: usize,
    bytes: usize,
) -> Result<&mut [u8], EngineError> {
    let size = (memory.len() / count.max(1)).max(1);
    let slot = memory.chunks_exact_mut(size).nth(index);
    slot.and_then(|slot| slot.get_mut(..bytes))
        .ok_or(EngineError::OtherPlan)
}
