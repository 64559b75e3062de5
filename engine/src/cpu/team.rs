//! Who shares the work: one thread, or several.
//!
//! Work is split by outputs (rows, heads, tokens), never inside a sum, so the
//! bits do not depend on the team.

use crate::cut;

/// Data that can be cut between any two of its units.
pub trait Divide: Sized + Send {
    /// How many units there are.
    fn units(&self) -> usize;

    /// The first `at` units, and the others.
    fn divide(self, at: usize) -> (Self, Self);
}

/// A slice whose units are `unit` elements long.
#[derive(Debug)]
pub struct Units<'a, T> {
    /// The elements.
    pub data: &'a mut [T],
    /// Elements of a unit.
    pub unit: usize,
}

impl<'a, T> Units<'a, T> {
    /// `data` in units of `unit` elements.
    pub const fn new(data: &'a mut [T], unit: usize) -> Self {
        Self { data, unit }
    }

    /// The first `len` elements of `data`, or all, in units of `unit`.
    pub fn of_first(data: &'a mut [T], len: usize, unit: usize) -> Self {
        Self::new(cut::first_mut(data, len), unit)
    }
}

impl<T: Send> Divide for Units<'_, T> {
    fn units(&self) -> usize {
        self.data.len() / self.unit.max(1)
    }

    fn divide(self, at: usize) -> (Self, Self) {
        let (left, right) = cut::split_mut(self.data, at.saturating_mul(self.unit));
        (Self::new(left, self.unit), Self::new(right, self.unit))
    }
}

/// Two things that are cut at the same units; the first says how many.
impl<A: Divide, B: Divide> Divide for (A, B) {
    fn units(&self) -> usize {
        self.0.units()
    }

    fn divide(self, at: usize) -> (Self, Self) {
        let (left, right) = (self.0.divide(at), self.1.divide(at));
        ((left.0, right.0), (left.1, right.1))
    }
}

/// Threads that work on data together.
pub trait Team: Sync {
    /// How many threads work.
    fn threads(&self) -> usize;

    /// Cuts `data` into parts and calls `work(index of the part's first unit,
    /// part)` for each. Nothing may depend on where the cuts are.
    fn for_each_part<D: Divide>(&self, data: D, work: impl Fn(usize, D) + Sync);

    /// As [`Self::for_each_part`], for a slice cut at multiples of `unit`.
    fn for_each_range<T: Send>(
        &self,
        data: &mut [T],
        unit: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        self.for_each_part(Units::new(data, unit), |first, part| work(first, part.data));
    }

    /// As [`Self::for_each_range`], for two slices cut at the same units.
    fn for_each_range_of_two<T: Send>(
        &self,
        first: &mut [T],
        second: &mut [T],
        unit: usize,
        work: impl Fn(usize, &mut [T], &mut [T]) + Sync,
    ) {
        let both = (Units::new(first, unit), Units::new(second, unit));
        self.for_each_part(both, |first, (a, b)| work(first, a.data, b.data));
    }
}

/// One thread: the caller's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Team for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn for_each_part<D: Divide>(&self, data: D, work: impl Fn(usize, D) + Sync) {
        work(0, data);
    }
}
