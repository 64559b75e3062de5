//! Work spread over threads.

use std::num::NonZeroUsize;

/// Calls `work` on every thread with the indices below `count` that are the
/// thread's own; it returns one result for each. The results come in order of
/// indices.
pub(super) fn spread<T: Send>(
    threads: NonZeroUsize,
    count: usize,
    work: impl Fn(&mut dyn Iterator<Item = usize>) -> Vec<T> + Sync,
) -> Vec<T> {
    let threads = threads.get().min(count).max(1);
    let run = |first: usize| work(&mut (first..count).step_by(threads)).into_iter();
    let mut by_thread: Vec<_> = std::thread::scope(|scope| {
        let run = &run;
        let others: Vec<_> = (1..threads)
            .map(|thread| scope.spawn(move || run(thread)))
            .collect();
        let mut all = vec![run(0)];
        for other in others {
            match other.join() {
                Ok(results) => all.push(results),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    (0..count)
        .filter_map(|index| by_thread[index % threads].next())
        .collect()
}
