//! Which experts stay in memory where not all of them fit.
//!
//! Each layer with experts has its share of the slots to itself. One pool for
//! all would be useless when it is small: decoding walks through the layers in
//! turn, so the least recently used slot is the one needed next.

use core::ops::Range;

use bytemuck::{Pod, Zeroable};

/// What a slot holds.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) layer: u32,
    pub(crate) expert: u32,
    /// When it was used last; 0: it holds nothing.
    pub(crate) used: u64,
}

impl Slot {
    /// Whether it holds that expert.
    pub(crate) const fn holds(&self, layer: u32, expert: u32) -> bool {
        self.used > 0 && self.layer == layer && self.expert == expert
    }
}

/// Which of `slots` slots belong to the layer that `layer` others with experts
/// come before. If there are too few, the last one serves all other layers.
pub(crate) fn share(layer: usize, layers: usize, slots: usize) -> Range<usize> {
    if slots < layers {
        let slot = layer.min(slots.saturating_sub(1));
        return slot..slot + 1;
    }
    let bound = |layer: usize| (layer as u64 * slots as u64 / layers.max(1) as u64) as usize;
    bound(layer)..bound(layer + 1)
}

/// The slot to fill anew: an empty one; else the least recently used of those
/// that the batch needs no more; else the one that it needs last.
pub(crate) fn victim(slots: &[Slot], layer: u32, later: impl Fn(u32) -> bool) -> usize {
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
