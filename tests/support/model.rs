//! Packing a checkpoint and running it.

use std::ops::ControlFlow;
use std::path::Path;

use briquette::checkpoint;
use briquette::pack::{FormatChoice, PackOptions, WeightFormat, pack};
use briquette::run::{Arena, BriqFile};
use briquette_engine::cpu::{Serial, Team};
use briquette_engine::quant::KvFormat;
use briquette_engine::{Isa, Plan, PlanOptions, Session, logits_digest};
use tempfile::TempDir;

/// A packed checkpoint in a temporary folder.
#[derive(Debug)]
pub struct Packed {
    folder: TempDir,
    /// The mapped briquette.
    pub file: BriqFile,
}

/// How a model is run.
#[derive(Debug, Clone, Copy)]
pub struct Run<T> {
    /// Threads.
    pub team: T,
    /// Kernels.
    pub isa: Isa,
    /// Tokens that prefill takes at a time.
    pub batch: u32,
}

impl Default for Run<Serial> {
    fn default() -> Self {
        Self {
            team: Serial,
            isa: Isa::detect(),
            batch: 64,
        }
    }
}

impl Packed {
    /// Packs the checkpoint at `source` for 256 tokens of context.
    pub fn new(source: &Path, weights: WeightFormat, kv: KvFormat) -> Self {
        Self::with_context(source, weights, kv, 256)
    }

    /// Packs the checkpoint at `source`.
    pub fn with_context(source: &Path, weights: WeightFormat, kv: KvFormat, context: u32) -> Self {
        Self::pack(source, weights, kv, context, false)
    }

    /// As [`Self::new`], with the layer for multi-token prediction.
    pub fn with_mtp(source: &Path, weights: WeightFormat, kv: KvFormat) -> Self {
        Self::pack(source, weights, kv, 256, true)
    }

    fn pack(source: &Path, weights: WeightFormat, kv: KvFormat, context: u32, mtp: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.briq");
        let mut source = checkpoint::open(source).unwrap();
        let options = PackOptions {
            formats: FormatChoice::new(weights),
            kv,
            context,
            batch: 64,
            mtp,
            target: None,
            summary: String::new(),
        };
        pack(&mut source, &options, &path, |_, _| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let file = BriqFile::open(&path).unwrap();
        Self { folder, file }
    }

    /// Where the briquette lies.
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("model.briq")
    }

    /// Hands a fresh session to `work`.
    pub fn session<T: Team + Clone + Send, R>(
        &self,
        run: &Run<T>,
        work: impl FnOnce(&mut Session<'_, T>) -> R,
    ) -> R {
        let packed = self.file.blob().unwrap().manifest().kv;
        self.session_with_cache(run, packed, work)
    }

    /// As [`Self::session`], with another cache than the one packed for.
    pub fn session_with_cache<T: Team + Clone + Send, R>(
        &self,
        run: &Run<T>,
        kv: KvFormat,
        work: impl FnOnce(&mut Session<'_, T>) -> R,
    ) -> R {
        let blob = self.file.blob().unwrap();
        let options = PlanOptions {
            kv,
            batch: run.batch,
            logits: run.batch,
            ..PlanOptions::packed(blob.manifest())
        };
        let plan = Plan::new(blob.manifest(), options).unwrap();
        let mut arena = Arena::for_plan(&plan).unwrap();
        let memory = arena.bytes_mut();
        let team = run.team.clone();
        work(&mut Session::with_team(blob, &plan, memory, team, run.isa).unwrap())
    }

    /// The logits after each of `ids`.
    pub fn logits<T: Team + Clone + Send>(&self, run: &Run<T>, ids: &[u32]) -> Vec<f32> {
        let packed = self.file.blob().unwrap().manifest().kv;
        self.logits_with_cache(run, packed, ids)
    }

    /// As [`Self::logits`], with another cache than the one packed for.
    pub fn logits_with_cache<T: Team + Clone + Send>(
        &self,
        run: &Run<T>,
        kv: KvFormat,
        ids: &[u32],
    ) -> Vec<f32> {
        self.session_with_cache(run, kv, |session| {
            let vocab = session.blob().manifest().config.vocab_size as usize;
            let mut logits = Vec::new();
            let mut row = vec![0.0; vocab];
            session
                .score(ids, &mut row, |_, row| logits.extend_from_slice(row))
                .unwrap();
            logits
        })
    }

    /// The `count` most likely tokens after `ids`, one after the other.
    pub fn greedy<T: Team + Clone + Send>(
        &self,
        run: &Run<T>,
        ids: &[u32],
        count: usize,
    ) -> Vec<u32> {
        self.session(run, |session| {
            let mut token = most_likely(session.prefill(ids).unwrap());
            let mut tokens = vec![token];
            while tokens.len() < count {
                token = most_likely(session.decode(token).unwrap());
                tokens.push(token);
            }
            tokens
        })
    }
}

/// The index of the largest number.
pub fn most_likely(logits: &[f32]) -> u32 {
    let largest = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    largest.unwrap() as u32
}

/// CRC-32 of each token's logits, as devices digest theirs.
pub fn digests(logits: &[f32], tokens: usize) -> Vec<u32> {
    logits
        .chunks(logits.len() / tokens)
        .map(logits_digest)
        .collect()
}

/// The largest absolute difference.
pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |max, (a, b)| {
        let difference = (a - b).abs();
        if difference.is_nan() {
            f32::INFINITY
        } else {
            max.max(difference)
        }
    })
}

/// Mean over positions of the Kullback-Leibler divergence of softmax(`ours`)
/// from softmax(`reference`), in nats.
pub fn kl_divergence(reference: &[f32], ours: &[f32], vocab: usize) -> f64 {
    let rows = reference.chunks(vocab).zip(ours.chunks(vocab));
    let sum: f64 = rows.map(|(p, q)| row_divergence(p, q)).sum();
    sum / (reference.len() / vocab) as f64
}

fn row_divergence(p: &[f32], q: &[f32]) -> f64 {
    let (log_p, log_q) = (log_softmax(p), log_softmax(q));
    let terms = log_p.iter().zip(&log_q);
    terms.map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits
        .iter()
        .fold(f64::NEG_INFINITY, |m, v| m.max((*v).into()));
    let sum: f64 = logits.iter().map(|v| (f64::from(*v) - max).exp()).sum();
    let shift = max + sum.ln();
    logits.iter().map(|v| f64::from(*v) - shift).collect()
}
