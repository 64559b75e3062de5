//! Burn's executor against the reference implementation, and against the
//! executor on the processor: the same checks for every backend.

use briquette::pack::WeightFormat;
use briquette::run::StoredFile;
use briquette_engine::blob::Blob;
use briquette_engine::burn::{BurnSession, DecoderBackend};
use briquette_engine::quant::KvFormat;
use briquette_engine::{Executor, PlanOptions};

use crate::{Golden, Packed, Run, golden_folders, largest_difference};

/// The bound on the largest absolute difference of a logit.
const TOLERANCE: f32 = 2e-3;

/// Each of two logits may be off by the bound: closer than this, either may
/// come first.
const NEAR_TIE: f32 = 2.0 * TOLERANCE;

/// Plain weights: within the bound of transformers' logits.
///
/// # Panics
/// If a logit or a greedy token is not.
pub fn compare_with_reference<B: DecoderBackend>() {
    for golden in golden_folders() {
        let packed = Packed::new(&golden.folder, WeightFormat::F32, KvFormat::F32);
        for (i, prompt) in golden.prompts.iter().enumerate() {
            let what = format!("{} prompt {i}", golden.name);
            let logits = score::<B>(&packed, &prompt.ids);
            check_logits(&what, &logits, &prompt.logits);
            check_greedy::<B>(&what, &packed, &prompt.ids, &prompt.greedy);
        }
    }
}

/// Plain weights: the same but for rounding. Integer weights: the same bits, if
/// `same_bits`.
///
/// # Panics
/// If a logit or a greedy token is not.
pub fn compare_with_processor<B: DecoderBackend>(same_bits: bool) {
    for golden in golden_folders() {
        compare_rounded::<B>(&golden, WeightFormat::F16, KvFormat::F16, false);
        compare_rounded::<B>(&golden, WeightFormat::Q8, KvFormat::Q8, same_bits);
        compare_rounded::<B>(&golden, WeightFormat::Q4, KvFormat::Q4, same_bits);
        if same_bits {
            compare_rounded::<B>(&golden, WeightFormat::Q4, KvFormat::F16, true);
        }
    }
}

fn compare_rounded<B: DecoderBackend>(
    golden: &Golden,
    weights: WeightFormat,
    kv: KvFormat,
    same_bits: bool,
) {
    let packed = Packed::new(&golden.folder, weights, kv);
    for (i, prompt) in golden.prompts.iter().enumerate() {
        let what = format!("{} {weights:?}/{kv:?} prompt {i}", golden.name);
        let run = Run::default();
        let expected = packed.logits(&run, &prompt.ids);
        let logits = score::<B>(&packed, &prompt.ids);
        if same_bits {
            let difference = largest_difference(&logits, &expected);
            assert!(bits(&logits) == bits(&expected), "{what}: {difference}");
        } else {
            check_logits(&what, &logits, &expected);
        }
        let greedy = packed.greedy(&run, &prompt.ids, prompt.greedy.len());
        check_greedy::<B>(&what, &packed, &prompt.ids, &greedy);
    }
}

fn check_logits(what: &str, logits: &[f32], expected: &[f32]) {
    let difference = largest_difference(logits, expected);
    println!("{what}: largest difference {difference:.2e}");
    assert!(difference < TOLERANCE, "{what}: {difference}");
}

/// Feeds the expected tokens one by one; each must be the most likely one, or
/// nearly.
fn check_greedy<B: DecoderBackend>(what: &str, packed: &Packed, ids: &[u32], expected: &[u32]) {
    let mut session = session::<B>(packed);
    let mut logits = session.prefill(ids).unwrap();
    for (i, token) in expected.iter().enumerate() {
        let best = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        let behind = best - logits[*token as usize];
        assert!(behind < NEAR_TIE, "{what}, token {i}: {behind} behind");
        logits = session.decode(*token).unwrap();
    }
}

fn score<B: DecoderBackend>(packed: &Packed, ids: &[u32]) -> Vec<f32> {
    score_in(&mut session::<B>(packed), ids)
}

fn score_in<B: DecoderBackend>(session: &mut BurnSession<'_, B>, ids: &[u32]) -> Vec<f32> {
    let mut row = vec![0.0; session.blob().manifest().config.vocab_size as usize];
    let mut logits = Vec::new();
    session
        .score(ids, &mut row, &mut |_, row| logits.extend_from_slice(row))
        .unwrap();
    logits
}

/// Experts in slots, brought there from the mapped file or from storage: the bits
/// of experts that are all on the device.
///
/// # Panics
/// If a bit is not, or the traffic is counted wrongly.
pub fn compare_slots<B: DecoderBackend>() {
    let names = ["tiny-v3", "tiny-qwen3moe"];
    for (golden, weights) in golden_folders()
        .iter()
        .filter(|golden| names.contains(&golden.name.as_str()))
        .zip([WeightFormat::Q4, WeightFormat::Q8])
    {
        let packed = Packed::new(&golden.folder, weights, KvFormat::Q8);
        let ids = &golden.prompts[0].ids;
        let expected = bits(&score_in(&mut session::<B>(&packed), ids));
        let blob = packed.file.blob().unwrap();
        let sizes = blob.manifest().expert_sizes();
        for slots in [1, sizes.count as u32 / 2, sizes.count as u32] {
            let what = format!("{}: {slots} slots", golden.name);
            let options = PlanOptions {
                expert_slots: slots,
                ..options(&blob)
            };
            let mut mapped =
                BurnSession::<B>::new(blob.clone(), options, &Default::default()).unwrap();
            assert!(bits(&score_in(&mut mapped, ids)) == expected, "{what}");
            let first = mapped.traffic().storage;
            assert_eq!(first.bytes, first.misses * sizes.largest, "{what}");
            mapped.truncate(0);
            assert!(
                bits(&score_in(&mut mapped, ids)) == expected,
                "{what}, again"
            );
            let again = mapped.traffic().storage.since(&first);
            if slots == 1 {
                assert!(again.misses > 0, "{what}: one slot a layer is too few");
            } else if slots == sizes.count as u32 {
                assert_eq!(again.misses, 0, "{what}: all were there");
            }

            let mut stored = StoredFile::open(&packed.path()).unwrap();
            let (blob, storage) = stored.parts().unwrap();
            let mut stored =
                BurnSession::<B>::with_storage(blob, storage, options, &Default::default())
                    .unwrap();
            assert!(
                bits(&score_in(&mut stored, ids)) == expected,
                "{what}, stored"
            );
            assert_eq!(stored.traffic().storage, first, "{what}, stored");
        }
    }
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// Batches smaller than the prompts: they come in several.
fn options(blob: &Blob<'_>) -> PlanOptions {
    PlanOptions {
        batch: 7,
        logits: 7,
        ..PlanOptions::packed(blob.manifest())
    }
}

fn session<B: DecoderBackend>(packed: &Packed) -> BurnSession<'_, B> {
    let blob = packed.file.blob().unwrap();
    let options = options(&blob);
    BurnSession::new(blob, options, &Default::default()).unwrap()
}
