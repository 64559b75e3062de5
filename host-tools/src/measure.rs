//! Counting bytes and measuring the machine.

use std::hint::black_box;
use std::time::Instant;

use briquette_engine::Isa;
use briquette_engine::blob::{Blob, ModelConfig, Role, TensorRecord};
use briquette_engine::cpu::Traffic;
use briquette_engine::kernels::peak;

use crate::loaded::Arena;

/// Weight bytes that decoding one token reads, computed from the table: all
/// matrices and norms once, `top_k` experts a layer, one row of the embedding.
pub fn touched_weight_bytes(blob: &Blob<'_>) -> Traffic {
    let config = &blob.manifest().config;
    let mut touched = Traffic::default();
    for tensor in blob.model_tensors() {
        let record = tensor.record();
        match record.role {
            Role::RopeInverseFrequency => {}
            Role::Embedding => {
                touched.weights += tensor.matrix(0).map_or(0, |m| m.row_bytes() as u64);
                if config.tie_word_embeddings {
                    touched.weights += record.matrix_bytes();
                }
            }
            _ => touched.weights += record.matrix_bytes(),
        }
    }
    for layer in 0..config.num_hidden_layers as usize {
        for tensor in blob.layer_tensors(layer) {
            let record = tensor.record();
            let bytes = record.matrix_bytes() * uses(record, config);
            touched.weights += bytes;
            if record.role.is_expert() {
                touched.experts += bytes;
            }
        }
    }
    let rows = briquette_engine::kv::RowLayout::new(config, blob.manifest().kv);
    touched.kv = rows.row_bytes as u64 * u64::from(config.num_hidden_layers);
    touched
}

/// How many of a layer's tensors of this kind a token meets: `top_k` experts,
/// of all others each.
fn uses(record: &TensorRecord, config: &ModelConfig) -> u64 {
    if record.role.is_expert() {
        config.moe.map_or(0, |moe| u64::from(moe.top_k))
    } else {
        u64::from(record.count)
    }
}

/// Multiply-adds of one token with integer weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Products {
    /// In all layers, of chosen experts only.
    pub layers: u64,
    /// In the language-model head.
    pub head: u64,
}

impl Products {
    /// Computed from the table.
    pub fn of(blob: &Blob<'_>) -> Self {
        let config = &blob.manifest().config;
        let product = |record: &TensorRecord| {
            let is_integer = !record.role.is_vector() && record.format.is_integer();
            u64::from(is_integer) * u64::from(record.rows) * u64::from(record.cols)
        };
        let head = if config.tie_word_embeddings {
            Role::Embedding
        } else {
            Role::LmHead
        };
        let mut products = Self::default();
        for tensor in blob.model_tensors() {
            if tensor.record().role == head {
                products.head += product(tensor.record());
            }
        }
        for layer in 0..config.num_hidden_layers as usize {
            for tensor in blob.layer_tensors(layer) {
                let record = tensor.record();
                products.layers += product(record) * uses(record, config);
            }
        }
        products
    }
}

/// Layers with experts, without the one for multi-token prediction.
pub fn moe_layers(blob: &Blob<'_>) -> usize {
    blob.moe_layers(blob.manifest().config.num_hidden_layers as usize)
}

/// Memory that is read at full speed, in bytes a second, by `threads` threads:
/// the best of a few passes over 256 MB, in huge pages where there are any.
/// `None` if there is not as much memory.
pub fn read_bandwidth(threads: usize) -> Option<f64> {
    const BYTES: usize = 256 << 20;
    const PASSES: usize = 5;
    let mut memory = Arena::with_bytes(BYTES as u64).ok()?;
    // Pages that nobody wrote to are all the same one.
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

/// Multiply-adds of eight-bit codes a second that `threads` threads reach
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

/// Bytes of memory that a process can still have without swapping, where the
/// system says so (Linux).
pub fn free_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The most memory that this process has held so far, in bytes, where the
/// system says (Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
