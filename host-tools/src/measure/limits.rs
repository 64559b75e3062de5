//! What this machine can read and multiply in a second, measured.

use std::hint::black_box;
use std::time::Instant;

use briquette_engine::Isa;
use briquette_engine::kernels::peak;

use crate::run::Arena;

/// Memory that is read at full speed, in bytes per second, by `threads` threads:
/// the best of a few passes over 256 MB, in huge pages where there are any.
/// `None` if there is not enough memory.
pub fn read_bandwidth(threads: usize) -> Option<f64> {
    const BYTES: usize = 256 << 20;
    const PASSES: usize = 5;
    let mut memory = Arena::with_bytes(BYTES as u64).ok()?;
    // Pages that were never written to are all the same one.
    memory.bytes_mut().fill(1);
    let lines = memory.bytes().as_chunks().0;
    let share = lines.len().div_ceil(threads.max(1));
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in lines.chunks(share) {
                scope.spawn(move || black_box(sum(part)));
            }
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    Some(BYTES as f64 / best)
}

/// Multiply-adds of eight-bit codes per second that `threads` threads reach
/// together in registers, with the instructions of the kernels: the best of a
/// few passes. `None` if these are portable code.
pub fn peak_products(threads: usize) -> Option<f64> {
    const ROUNDS: u32 = 1 << 22;
    const PASSES: usize = 5;
    let isa = Isa::detect();
    let mut best = f64::INFINITY;
    let mut products = 0;
    for _ in 0..PASSES {
        let start = Instant::now();
        products = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads.max(1))
                .map(|_| scope.spawn(move || black_box(peak(isa, ROUNDS))))
                .collect();
            let mut counts = threads.into_iter().map(|thread| thread.join().ok()?);
            counts.try_fold(0, |sum, count| Some(sum + count?))
        })?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Some(products as f64 / best)
}

/// Bytes of [`sum`] at a time: enough accumulators to be limited by memory alone.
const CHUNK: usize = 256;

fn sum(part: &[[u8; CHUNK]]) -> u64 {
    let mut lanes = [0_u64; CHUNK / 8];
    for chunk in part {
        for (lane, value) in lanes.iter_mut().zip(chunk.as_chunks().0) {
            *lane = lane.wrapping_add(u64::from_ne_bytes(*value));
        }
    }
    lanes.iter().fold(0, |a, b| a.wrapping_add(*b))
}
