//! Which experts stay in memory where not all of them fit.
//!
//! Each layer with experts has a share of the slots to itself. One pool for all
//! layers would be useless when it is small: decoding walks through the layers in
//! turn, so the least recently used slot is the one needed next.

use core::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::StorageTraffic;
use crate::EngineError;
use crate::blob::TensorRecord;
use crate::cut;

/// What a slot holds.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Slot {
    layer: u32,
    expert: u32,
    /// When it was used last; 0: it holds nothing.
    used: u64,
}

impl Slot {
    /// Whether it holds that expert.
    const fn holds(&self, layer: u32, expert: u32) -> bool {
        self.used > 0 && self.layer == layer && self.expert == expert
    }
}

/// Which slot holds which expert. Layers are counted among those with experts;
/// the slots' memory is the executor's.
#[derive(Debug)]
pub(crate) struct SlotTable<S> {
    slots: S,
    layers: usize,
    /// Counts uses.
    clock: u64,
    traffic: StorageTraffic,
}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> SlotTable<S> {
    /// Empty slots that `layers` layers share.
    pub(crate) fn new(mut slots: S, layers: usize) -> Self {
        slots.as_mut().fill(Slot::zeroed());
        Self {
            slots,
            layers,
            clock: 0,
            traffic: StorageTraffic::default(),
        }
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.as_ref().len()
    }

    /// What filling the slots has cost so far.
    pub(crate) const fn traffic(&self) -> StorageTraffic {
        self.traffic
    }

    /// The slot for an expert of layer `layer`, and whether the expert is in it.
    /// `later` tells which experts of the layer the batch needs after this one.
    pub(crate) fn slot_for(
        &self,
        layer: usize,
        expert: u32,
        later: impl Fn(u32) -> bool,
    ) -> (usize, bool) {
        let share = share(layer, self.layers, self.len());
        let first = share.start;
        let slots = cut::part(self.slots.as_ref(), first, share.len());
        let layer = layer as u32;
        match slots.iter().position(|slot| slot.holds(layer, expert)) {
            Some(index) => (first + index, true),
            None => (first + victim(slots, layer, later), false),
        }
    }

    /// Notes that the expert in slot `index` is used once more.
    pub(crate) fn reuse(&mut self, index: usize) {
        self.traffic.hits += 1;
        self.clock += 1;
        if let Some(slot) = self.slots.as_mut().get_mut(index) {
            slot.used = self.clock;
        }
    }

    /// Has `read` bring an expert of `bytes` bytes into slot `index`.
    pub(crate) fn refill(
        &mut self,
        index: usize,
        [layer, expert]: [u32; 2],
        bytes: u64,
        read: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let slots = self.slots.as_mut();
        // A failed read leaves garbage: mark the slot empty first.
        if let Some(slot) = slots.get_mut(index) {
            *slot = Slot::zeroed();
        }
        read()?;
        self.traffic.misses += 1;
        self.traffic.bytes += bytes;
        self.clock += 1;
        if let Some(slot) = slots.get_mut(index) {
            *slot = Slot {
                layer,
                expert,
                used: self.clock,
            };
        }
        Ok(())
    }
}

/// First byte of an expert in the file; `gate` are the gate matrices of its
/// layer, and the payload begins at `payload_offset`.
pub(crate) fn expert_offset(payload_offset: u64, gate: &TensorRecord, expert: u32) -> u64 {
    payload_offset + gate.offset + u64::from(expert) * gate.stride
}

/// The slots of layer number `layer` among `layers` with experts, which share
/// `slots` slots. If there are too few, the last one serves all other layers.
pub(crate) fn share(layer: usize, layers: usize, slots: usize) -> Range<usize> {
    if slots < layers {
        let slot = layer.min(slots.saturating_sub(1));
        return slot..slot + 1;
    }
    let bound = |layer: usize| (layer as u64 * slots as u64 / layers.max(1) as u64) as usize;
    bound(layer)..bound(layer + 1)
}

/// The slot to refill: an empty one; else the least recently used of those that
/// the batch no longer needs; else the one that it needs last.
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

    #[test]
    fn a_failed_read_leaves_an_empty_slot() {
        let mut table = SlotTable::new([Slot::zeroed(); 2], 1);
        let none = |_| false;
        for expert in 0..2 {
            let (slot, is_there) = table.slot_for(0, expert, none);
            assert!(!is_there);
            table.refill(slot, [0, expert], 64, || Ok(())).unwrap();
        }
        assert_eq!(table.slot_for(0, 0, none), (0, true));
        table.reuse(0);
        assert_eq!(table.slot_for(0, 7, none), (1, false));
        let failed = table.refill(1, [0, 7], 64, || Err(EngineError::OtherBriquette));
        assert!(failed.is_err());
        // Neither the new expert nor the old one is there.
        assert_eq!(table.slot_for(0, 7, none), (1, false));
        assert_eq!(table.slot_for(0, 1, none), (1, false));
        let (hits, misses, bytes) = (1, 2, 128);
        let expected = StorageTraffic {
            hits,
            misses,
            bytes,
        };
        assert_eq!(table.traffic(), expected);
    }
}
