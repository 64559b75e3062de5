//! Counting bytes and measuring the machine.

use std::hint::black_box;
use std::time::Instant;

use briquette_engine::blob::{Blob, Role, TensorRecord};
use briquette_engine::cpu::Traffic;

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
                    touched.weights += record_bytes(record);
                }
            }
            _ => touched.weights += record_bytes(record),
        }
    }
    let top_k = config.moe.map_or(0, |moe| u64::from(moe.top_k));
    for layer in 0..config.num_hidden_layers as usize {
        for tensor in blob.layer_tensors(layer) {
            let record = tensor.record();
            if record.role.is_expert() {
                let bytes = record.format.matrix_bytes(record.rows, record.cols) * top_k;
                touched.experts += bytes;
                touched.weights += bytes;
            } else {
                touched.weights += record_bytes(record) * u64::from(record.count);
            }
        }
    }
    let rows = briquette_engine::kv::RowLayout::new(config, blob.manifest().kv);
    touched.kv = rows.row_bytes as u64 * u64::from(config.num_hidden_layers);
    touched
}

/// Bytes of one matrix, or of a vector.
const fn record_bytes(record: &TensorRecord) -> u64 {
    if record.role.is_vector() {
        record.cols as u64 * 4
    } else {
        record.format.matrix_bytes(record.rows, record.cols)
    }
}

/// Layers with experts, without the one for multi-token prediction.
pub fn moe_layers(blob: &Blob<'_>) -> usize {
    blob.moe_layers(blob.manifest().config.num_hidden_layers as usize)
}

/// Memory that is read at full speed, in bytes a second, by `threads` threads:
/// the best of a few passes over 256 MB.
pub fn read_bandwidth(threads: usize) -> f64 {
    const BYTES: usize = 256 << 20;
    const PASSES: usize = 5;
    let memory = vec![1_u64; BYTES / 8];
    let share = memory.len().div_ceil(threads.max(1));
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in memory.chunks(share) {
                scope.spawn(move || black_box(sum(part)));
            }
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    BYTES as f64 / best
}

/// A sum with enough accumulators to be limited by memory alone.
fn sum(part: &[u64]) -> u64 {
    let mut lanes = [0_u64; 32];
    for chunk in part.as_chunks::<32>().0 {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*value);
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
