//! Where routed experts come from: the mapped file, or slots in memory that
//! are filled from storage.

use core::fmt;
use core::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::EngineError;
use crate::blob::{Blob, HEADER_LEN};
use crate::storage::BlockStorage;

use super::arena::Arena;
use super::layer::{ExpertTensors, Gated};
use super::plan::Sizes;

/// What fetching experts from storage has cost; nothing if they are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StorageTraffic {
    /// Times that an expert was in its slot.
    pub hits: u64,
    /// Times that it was read.
    pub misses: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl StorageTraffic {
    /// What has come on top of `before`.
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            hits: self.hits.wrapping_sub(before.hits),
            misses: self.misses.wrapping_sub(before.misses),
            bytes: self.bytes.wrapping_sub(before.bytes),
        }
    }
}

/// Where routed experts come from.
#[derive(Debug, Default)]
pub(super) enum ExpertStore<'a> {
    /// The file, in place.
    #[default]
    Mapped,
    /// Slots filled from storage.
    Stored(Slots<'a>),
}

/// Room for some experts in memory.
///
/// Each layer with experts has its share of the slots to itself. One pool for
/// all would be useless when it is small: decoding walks through the layers in
/// turn, so the least recently used slot is the one needed next.
pub(super) struct Slots<'a> {
    storage: &'a mut dyn BlockStorage,
    table: &'a mut [Slot],
    memory: &'a mut [u8],
    /// Layers with experts.
    layers: usize,
    payload_offset: u64,
    /// Counts uses.
    clock: u64,
    traffic: StorageTraffic,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Slot {
    layer: u32,
    expert: u32,
    /// When it was used last; 0: it holds nothing.
    used: u64,
}

impl<'a> ExpertStore<'a> {
    /// Carves the slots of a plan, for the experts of `blob`.
    pub(super) fn carve(
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

    /// Whether all experts can be had at once.
    pub(super) const fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped)
    }

    /// Expert `expert` of a layer. `later` tells whether the batch at hand will
    /// ask for an expert of this layer after this one.
    pub(super) fn expert(
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
    pub(super) const fn traffic(&self) -> StorageTraffic {
        match self {
            Self::Mapped => StorageTraffic {
                hits: 0,
                misses: 0,
                bytes: 0,
            },
            Self::Stored(slots) => slots.traffic,
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
        let mut slots = Self {
            storage,
            table,
            memory,
            layers: blob.moe_layers(layers),
            payload_offset: blob.payload_offset(),
            clock: 0,
            traffic: StorageTraffic::default(),
        };
        slots.table.fill(Slot::zeroed());
        // The header has the checksum of the manifest, so it tells files apart.
        let header = slots.read(0, 0, HEADER_LEN)?;
        if blob.bytes().get(..header.len()) != Some(header) {
            return Err(EngineError::OtherBriquette);
        }
        Ok(slots)
    }

    /// The bytes of one whole expert.
    fn fetch(
        &mut self,
        tensors: &ExpertTensors<'_>,
        expert: u32,
        later: impl Fn(u32) -> bool,
    ) -> Result<&[u8], EngineError> {
        let gate = tensors.gate.record();
        let layer = u32::from(gate.layer);
        let bytes = usize::try_from(gate.stride).map_err(|_| EngineError::PlanTooLarge)?;
        let share = share(tensors.moe_layer, self.layers, self.table.len());
        let first = share.start;
        let slots = self.table.get(share).unwrap_or_default();
        let index = if let Some(held) = slots.iter().position(|slot| slot.holds(layer, expert)) {
            self.traffic.hits += 1;
            first + held
        } else {
            let index = first + victim(slots, layer, later);
            let offset = self.payload_offset + gate.offset + u64::from(expert) * gate.stride;
            self.read(index, offset, bytes)?;
            self.traffic.misses += 1;
            self.traffic.bytes += gate.stride;
            index
        };
        self.clock += 1;
        if let Some(slot) = self.table.get_mut(index) {
            *slot = Slot {
                layer,
                expert,
                used: self.clock,
            };
        }
        slot(self.memory, self.table.len(), index, bytes).map(|slot| &*slot)
    }

    /// Fills a slot with `bytes` bytes of the file.
    fn read(&mut self, index: usize, offset: u64, bytes: usize) -> Result<&[u8], EngineError> {
        // What a read leaves behind that fails is not an expert.
        if let Some(slot) = self.table.get_mut(index) {
            *slot = Slot::zeroed();
        }
        let failed = EngineError::Storage {
            offset,
            bytes: bytes as u64,
        };
        let room = slot(self.memory, self.table.len(), index, bytes)?;
        self.storage.read(offset, room).map_err(|_| failed)?;
        Ok(room)
    }
}

impl Slot {
    const fn holds(&self, layer: u32, expert: u32) -> bool {
        self.used > 0 && self.layer == layer && self.expert == expert
    }
}

impl fmt::Debug for Slots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("table", &self.table)
            .field("traffic", &self.traffic)
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
        .ok_or(EngineError::MissingTensor)
}

/// Which of `slots` slots belong to the layer that `layer` others with experts
/// come before. If there are too few, the last one serves all other layers.
fn share(layer: usize, layers: usize, slots: usize) -> Range<usize> {
    if slots < layers {
        let slot = layer.min(slots.saturating_sub(1));
        return slot..slot + 1;
    }
    let bound = |layer: usize| (layer as u64 * slots as u64 / layers.max(1) as u64) as usize;
    bound(layer)..bound(layer + 1)
}

/// The slot to fill anew: an empty one; else the least recently used of those
/// that the batch needs no more; else the one that it needs last.
fn victim(slots: &[Slot], layer: u32, later: impl Fn(u32) -> bool) -> usize {
    let order = |slot: &Slot| match slot.used {
        0 => (0, 0),
        // Experts are asked for in ascending order.
        _ if slot.layer == layer && later(slot.expert) => (2, u64::from(u32::MAX - slot.expert)),
        used => (1, used),
    };
    let first = slots.iter().enumerate().min_by_key(|(_, slot)| order(slot));
    first.map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_leave_out_nothing() {
        assert_eq!(share(0, 3, 8), 0..2);
        assert_eq!(share(1, 3, 8), 2..5);
        assert_eq!(share(2, 3, 8), 5..8);
        // Too few: the last one is for all that have none.
        assert_eq!(
            [0, 1, 2].map(|layer| share(layer, 3, 2)),
            [0..1, 1..2, 1..2]
        );
        assert_eq!(
            [0, 1, 2].map(|layer| share(layer, 3, 1)),
            [0..1, 0..1, 0..1]
        );
    }

    #[test]
    fn what_is_needed_last_is_given_up_first() {
        let slot = |expert, used| Slot {
            layer: 4,
            expert,
            used,
        };
        let slots = [slot(1, 7), slot(2, 5), slot(3, 6)];
        // Nothing is needed: the least recently used.
        assert_eq!(victim(&slots, 4, |_| false), 1);
        // Expert 2 is needed soon.
        assert_eq!(victim(&slots, 4, |expert| expert == 2), 2);
        // All are: the one that comes last.
        assert_eq!(victim(&slots, 4, |_| true), 2);
        // Another layer's experts are not.
        assert_eq!(victim(&slots, 5, |_| true), 1);
        // An empty slot costs nothing.
        assert_eq!(victim(&[slot(1, 1), slot(9, 0)], 4, |_| false), 1);
    }
}
