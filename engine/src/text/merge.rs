//! Byte-pair merging of one piece, in `O(n log n)`.
//!
//! The symbols of a piece form a list. Of all neighbouring pairs that a merge
//! exists for, the one of lowest rank, leftmost first, is joined, until there is
//! none. A tournament tree over the list finds it in `O(log n)`.

const NONE: u32 = u32::MAX;

/// Words of scratch for a piece of `symbols` symbols.
pub(super) const fn words_needed(symbols: usize) -> usize {
    symbols.saturating_mul(5)
}

/// A merge: its rank (how early it was learnt) and the token that it makes.
#[derive(Clone, Copy)]
pub(super) struct Merge {
    pub(super) rank: u32,
    pub(super) id: u32,
}

/// Merges the `count` symbols at the start of `words`, and leaves the result
/// there; returns how many are left. Does nothing if `words` is shorter than
/// [`words_needed`].
pub(super) fn merge_all(
    words: &mut [u32],
    count: usize,
    find: impl Fn(u32, u32) -> Option<Merge>,
) -> usize {
    if count < 2 {
        return count;
    }
    let Some(mut list) = SymbolList::new(words, count) else {
        return count;
    };
    for position in 0..count {
        list.rank_pair(position, &find);
    }
    for node in (1..count).rev() {
        list.play(node);
    }
    while let Some(position) = list.best() {
        list.join(position, &find);
    }
    list.compact()
}

/// Five arrays of the same length, cut from one buffer. Positions stored in
/// them come from here alone, so that a missing entry cannot occur; reading one
/// as [`NONE`] keeps every access total.
struct SymbolList<'w> {
    ids: &'w mut [u32],
    next: &'w mut [u32],
    previous: &'w mut [u32],
    /// Rank of the pair that starts here.
    ranks: &'w mut [u32],
    /// Node `k` holds the better of the positions of nodes `2k` and `2k + 1`;
    /// nodes from `count` on are the positions themselves.
    tree: &'w mut [u32],
}

impl<'w> SymbolList<'w> {
    fn new(words: &'w mut [u32], count: usize) -> Option<Self> {
        let (ids, words) = words.split_at_mut_checked(count)?;
        let (next, words) = words.split_at_mut_checked(count)?;
        let (previous, words) = words.split_at_mut_checked(count)?;
        let (ranks, words) = words.split_at_mut_checked(count)?;
        let tree = words.get_mut(..count)?;
        for (position, (next, previous)) in next.iter_mut().zip(&mut *previous).enumerate() {
            *next = match position + 1 {
                end if end == count => NONE,
                following => following as u32,
            };
            *previous = (position as u32).wrapping_sub(1);
        }
        ranks.fill(NONE);
        Some(Self {
            ids,
            next,
            previous,
            ranks,
            tree,
        })
    }

    fn best(&self) -> Option<usize> {
        let position = get(self.tree, 1) as usize;
        (get(self.ranks, position) != NONE).then_some(position)
    }

    /// Looks up the pair that starts at `position`.
    fn rank_pair(&mut self, position: usize, find: &impl Fn(u32, u32) -> Option<Merge>) {
        let rank = self.pair(position, find).map_or(NONE, |merge| merge.rank);
        set(self.ranks, position, rank);
    }

    fn pair(&self, position: usize, find: &impl Fn(u32, u32) -> Option<Merge>) -> Option<Merge> {
        let right = *self.next.get(position)? as usize;
        find(*self.ids.get(position)?, *self.ids.get(right)?)
    }

    fn join(&mut self, position: usize, find: &impl Fn(u32, u32) -> Option<Merge>) {
        let Some(merge) = self.pair(position, find) else {
            set(self.ranks, position, NONE);
            return self.climb(position);
        };
        let right = get(self.next, position) as usize;
        let after = get(self.next, right);
        set(self.ids, position, merge.id);
        set(self.next, position, after);
        set(self.previous, after as usize, position as u32);
        set(self.ranks, right, NONE);
        self.climb(right);
        self.rank_pair(position, find);
        self.climb(position);
        let before = get(self.previous, position);
        if before != NONE {
            self.rank_pair(before as usize, find);
            self.climb(before as usize);
        }
    }

    /// Replays every match that the position takes part in.
    fn climb(&mut self, position: usize) {
        let mut node = (position + self.ids.len()) / 2;
        while node > 0 {
            self.play(node);
            node /= 2;
        }
    }

    fn play(&mut self, node: usize) {
        let left = self.winner(2 * node);
        let right = self.winner(2 * node + 1);
        let key = |position: u32| (get(self.ranks, position as usize), position);
        let best = if key(right) < key(left) { right } else { left };
        set(self.tree, node, best);
    }

    fn winner(&self, node: usize) -> u32 {
        match node.checked_sub(self.ids.len()) {
            Some(position) => position as u32,
            None => get(self.tree, node),
        }
    }

    /// Moves the symbols that are left to the front.
    fn compact(&mut self) -> usize {
        let (mut count, mut position) = (0, 0);
        while let Some(&id) = self.ids.get(position) {
            set(self.ids, count, id);
            count += 1;
            position = get(self.next, position) as usize;
        }
        count
    }
}

fn get(array: &[u32], index: usize) -> u32 {
    array.get(index).copied().unwrap_or(NONE)
}

fn set(array: &mut [u32], index: usize, value: u32) {
    if let Some(place) = array.get_mut(index) {
        *place = value;
    }
}
