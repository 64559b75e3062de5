//! Threads that stay awake between the short pieces of work of a token.
//!
//! A token is some hundred pieces of work of a few microseconds each. Waking a
//! sleeping thread costs as much as one of them, so helpers ask again and
//! again for work while tokens follow each other. After a few milliseconds
//! without any they go to sleep and cost nothing, until the next token.
//!
//! The caller takes part. Parts of the work are handed out as threads ask for
//! them. Small work is cut once for each thread: every cut costs a stream of
//! weights its run-up. Of large work a thread that was held up gets less.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder, Yield};

use super::team::{Divide, Team};

/// How long a helper without work stays awake.
const PATIENCE: Duration = Duration::from_millis(3);

/// Units that are not shared out further, if there is a part for each thread.
/// For a matrix these are 1024 rows.
const PART: usize = 64;

/// Fruitless attempts between two looks at the clock.
const ATTEMPTS: u32 = 256;

/// A team of threads, the caller's among them; clones share the others.
#[derive(Debug, Clone)]
pub struct Threads(Option<Arc<Helpers>>);

#[derive(Debug)]
struct Helpers {
    pool: ThreadPool,
    /// Helpers that stay awake.
    awake: Arc<AtomicUsize>,
}

impl Threads {
    /// Starts `count` threads, the caller's included (at least one).
    ///
    /// # Errors
    /// If the system refuses to start them.
    pub fn new(count: usize) -> Result<Self, ThreadPoolBuildError> {
        if count < 2 {
            return Ok(Self(None));
        }
        let builder = ThreadPoolBuilder::new().num_threads(count - 1);
        Ok(Self(Some(Arc::new(Helpers {
            pool: builder.build()?,
            awake: Arc::default(),
        }))))
    }
}

impl Team for Threads {
    fn threads(&self) -> usize {
        let helpers = self.0.as_ref();
        1 + helpers.map_or(0, |helpers| helpers.pool.current_num_threads())
    }

    fn for_each_part<D: Divide>(&self, data: D, work: impl Fn(usize, D) + Sync) {
        match &self.0 {
            Some(helpers) if data.units() > 1 => helpers.share(data, &work),
            _ => work(0, data),
        }
    }
}

impl Helpers {
    fn share<D: Divide>(&self, data: D, work: &(impl Fn(usize, D) + Sync)) {
        self.wake();
        let helpers = self.pool.current_num_threads();
        let wanted = helpers.min(data.units() - 1);
        let parts = Parts::new(data, helpers + 1);
        let busy = AtomicUsize::new(wanted);
        self.pool.in_place_scope(|scope| {
            for _ in 0..wanted {
                scope.spawn(|_| {
                    let _leave = Leave(&busy);
                    parts.work(work);
                });
            }
            parts.work(work);
            // The scope would sleep while it waits.
            let mut attempts = 0_u32;
            while busy.load(Ordering::Acquire) > 0 {
                attempts += 1;
                if attempts.is_multiple_of(ATTEMPTS) {
                    thread::yield_now();
                }
                spin_loop();
            }
        });
    }

    /// Has all helpers stay awake, if none does.
    fn wake(&self) {
        let helpers = self.pool.current_num_threads();
        let relaxed = Ordering::Relaxed;
        if self.awake.load(relaxed) == 0
            && let Ok(_) = self
                .awake
                .compare_exchange(0, helpers, Ordering::AcqRel, relaxed)
        {
            let awake = Arc::clone(&self.awake);
            self.pool.spawn_broadcast(move |_| {
                let _leave = Leave(&awake);
                stay_awake();
            });
        }
    }
}

/// Works on what the pool has, until there has been nothing for a while.
fn stay_awake() {
    let mut last = Instant::now();
    let mut attempts = 0_u32;
    loop {
        if rayon::yield_now() == Some(Yield::Executed) {
            attempts = 0;
            last = Instant::now();
            continue;
        }
        attempts += 1;
        if attempts.is_multiple_of(ATTEMPTS) {
            if last.elapsed() > PATIENCE {
                return;
            }
            thread::yield_now();
        }
        spin_loop();
    }
}

/// Counts down when dropped, also by a panic.
struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// What is left of the work.
struct Parts<D> {
    threads: usize,
    /// Units of the smallest part, but for the last.
    least: usize,
    /// The index of the next unit, and the units from there on.
    rest: Mutex<(usize, Option<D>)>,
}

impl<D: Divide> Parts<D> {
    fn new(data: D, threads: usize) -> Self {
        Self {
            threads,
            least: data.units().div_ceil(threads).min(PART),
            rest: Mutex::new((0, Some(data))),
        }
    }

    /// Works until nothing is left.
    fn work(&self, work: &impl Fn(usize, D)) {
        while let Some((first, part)) = self.next() {
            work(first, part);
        }
    }

    /// Half of a thread's share of what is left, or the smallest part.
    fn next(&self) -> Option<(usize, D)> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, data) = (rest.0, rest.1.take()?);
        let units = data.units();
        let count = units.div_ceil(2 * self.threads).max(self.least);
        if count >= units {
            return Some((first, data));
        }
        let (part, others) = data.divide(count);
        *rest = (first + count, Some(others));
        Some((first, part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_worked_on_once_whatever_the_team() {
        for threads in 1..=4 {
            let team = Threads::new(threads).unwrap();
            assert_eq!(team.threads(), threads);
            for units in 0..40 {
                let mut data = std::vec![0; units * 3];
                team.for_each_range(&mut data, 3, |first, range| {
                    for (i, unit) in range.chunks_mut(3).enumerate() {
                        unit.iter_mut().for_each(|v| *v += first + i + 1);
                    }
                });
                assert!(data.iter().enumerate().all(|(i, v)| *v == i / 3 + 1));
            }
        }
    }

    #[test]
    fn helpers_sleep_and_wake_again() {
        let team = Threads::new(2).unwrap();
        let helpers = team.0.clone().unwrap();
        for _ in 0..3 {
            team.for_each_range(&mut [0; 8], 1, |_, _| {});
            while helpers.awake.load(Ordering::Acquire) > 0 {
                thread::sleep(PATIENCE);
            }
        }
    }

    #[test]
    #[should_panic(expected = "on purpose")]
    fn a_panic_comes_through() {
        let team = Threads::new(2).unwrap();
        team.for_each_range(&mut [0; 8], 1, |first, _| assert!(first < 4, "on purpose"));
    }
}
