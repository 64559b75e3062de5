//! Who shares the work: one thread, or several.
//!
//! Work is split by outputs (rows, heads), never inside a sum, so the bits do
//! not depend on the team.

/// Threads that work on slices together.
pub trait Team: Sync {
    /// How many threads work.
    fn threads(&self) -> usize;

    /// Runs `work` where [`Self::for_each_range`] is cheapest to call.
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;

    /// Cuts `data` at multiples of `unit` elements into at most one range a
    /// thread and calls `work(index of the range's first unit, range)`.
    fn for_each_range<T: Send>(
        &self,
        data: &mut [T],
        unit: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    );

    /// As [`Self::for_each_range`], for two slices cut at the same units.
    fn for_each_range_of_two<T: Send>(
        &self,
        first: &mut [T],
        second: &mut [T],
        unit: usize,
        work: impl Fn(usize, &mut [T], &mut [T]) + Sync,
    );
}

/// One thread: the caller's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Team for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn for_each_range<T: Send>(
        &self,
        data: &mut [T],
        _unit: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        work(0, data);
    }

    fn for_each_range_of_two<T: Send>(
        &self,
        first: &mut [T],
        second: &mut [T],
        _unit: usize,
        work: impl Fn(usize, &mut [T], &mut [T]) + Sync,
    ) {
        work(0, first, second);
    }
}

#[cfg(feature = "std")]
pub use threads::Threads;

#[cfg(feature = "std")]
mod threads {
    use std::sync::Arc;

    use super::Team;

    /// A pool of threads; clones share it.
    #[derive(Debug, Clone)]
    pub struct Threads(Arc<rayon::ThreadPool>);

    impl Threads {
        /// Starts `count` threads (at least one).
        ///
        /// # Errors
        /// If the system refuses to start them.
        pub fn new(count: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(count.max(1));
            Ok(Self(Arc::new(builder.build()?)))
        }
    }

    impl Team for Threads {
        fn threads(&self) -> usize {
            self.0.current_num_threads()
        }

        fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
            self.0.install(work)
        }

        fn for_each_range<T: Send>(
            &self,
            data: &mut [T],
            unit: usize,
            work: impl Fn(usize, &mut [T]) + Sync,
        ) {
            let work = |first, data: &mut [T], _: &mut [T]| work(first, data);
            split(self.threads(), 0, data, &mut [], unit.max(1), &work);
        }

        fn for_each_range_of_two<T: Send>(
            &self,
            first: &mut [T],
            second: &mut [T],
            unit: usize,
            work: impl Fn(usize, &mut [T], &mut [T]) + Sync,
        ) {
            split(self.threads(), 0, first, second, unit.max(1), &work);
        }
    }

    /// Gives each of `pieces` threads its share of the units, by halving.
    fn split<T: Send>(
        pieces: usize,
        first_unit: usize,
        a: &mut [T],
        b: &mut [T],
        unit: usize,
        work: &(impl Fn(usize, &mut [T], &mut [T]) + Sync),
    ) {
        let units = a.len() / unit;
        let left = units * (pieces / 2) / pieces.max(1);
        if pieces < 2 || left == 0 {
            return work(first_unit, a, b);
        }
        let (a_left, a_right) = a.split_at_mut(left * unit);
        let (b_left, b_right) = b.split_at_mut((left * unit).min(b.len()));
        rayon::join(
            || split(pieces / 2, first_unit, a_left, b_left, unit, work),
            || {
                let rest = pieces - pieces / 2;
                split(rest, first_unit + left, a_right, b_right, unit, work);
            },
        );
    }
}
