//! A token touches the bytes of its chosen experts and no others.

use briquette::measure::touched_weight_bytes;
use briquette::pack::WeightFormat;
use briquette::run::Arena;
use briquette_engine::blob::{Blob, Role, TensorRecord};
use briquette_engine::quant::KvFormat;
use briquette_engine::{Plan, PlanOptions, Session};
use briquette_tests::{Packed, golden_folders};

/// A copy at an address that suits `f32`.
fn copy(bytes: &[u8]) -> Vec<u32> {
    let mut words = vec![0_u32; bytes.len().div_ceil(4)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    words
}

fn logits(file: &[u8], ids: &[u32]) -> Vec<u32> {
    let blob = Blob::open(file).unwrap();
    let vocab = blob.manifest().config.vocab_size as usize;
    let options = PlanOptions {
        batch: 1,
        ..PlanOptions::packed(blob.manifest())
    };
    let plan = Plan::new(blob.manifest(), options).unwrap();
    let mut arena = Arena::for_plan(&plan).unwrap();
    let mut session = Session::new(blob, &plan, arena.bytes_mut()).unwrap();
    let mut row = vec![0.0; vocab];
    let mut all = Vec::new();
    session
        .score(ids, &mut row, |_, row| {
            all.extend(row.iter().map(|v| v.to_bits()))
        })
        .unwrap();
    all
}

/// First byte in the file, bytes and stride of one layer's expert tensor.
fn expert_records(blob: &Blob<'_>) -> Vec<TensorRecord> {
    let layers = blob.manifest().config.num_hidden_layers as usize;
    (0..layers)
        .flat_map(|layer| blob.layer_tensors(layer))
        .map(|tensor| *tensor.record())
        .filter(|record| record.role.is_expert())
        .collect()
}

/// Poisons one expert of one layer at a time. Those whose poison changes the
/// logits are the touched ones: at most `top_k` a token and layer, and in all
/// other cases the bits stay.
#[test]
fn poisoned_bytes_of_unchosen_experts_change_nothing() {
    let mut checked = 0;
    for golden in golden_folders() {
        let packed = Packed::new(&golden.folder, WeightFormat::Q8, KvFormat::Q8);
        let file = packed.file.blob().unwrap().bytes().to_vec();
        let clean = copy(&file);
        let clean: &[u8] = &bytemuck::cast_slice(&clean)[..file.len()];
        let blob = Blob::open(clean).unwrap();
        let Some(moe) = blob.manifest().config.moe else {
            continue;
        };
        let ids = &golden.prompts[0].ids[..1];
        let expected = logits(clean, ids);
        let records = expert_records(&blob);
        let layers = records
            .iter()
            .filter(|r| r.role == Role::ExpertGate)
            .count();
        let mut changed = 0;
        for gate in records.iter().filter(|r| r.role == Role::ExpertGate) {
            for expert in 0..gate.count {
                let mut poisoned = copy(&file);
                let bytes: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut poisoned)[..file.len()];
                let start = blob.payload_offset() + gate.offset + u64::from(expert) * gate.stride;
                // 0x7f in every byte: scales are NaN, codes are 127.
                bytes[start as usize..(start + gate.stride) as usize].fill(0x7f);
                changed += usize::from(logits(bytes, ids) != expected);
                checked += 1;
            }
        }
        assert_eq!(changed, layers * moe.top_k as usize, "{}", golden.name);
    }
    assert!(checked > 50, "only {checked} experts were poisoned");
}

/// What `inspect` computes is what a run counts.
#[test]
fn bytes_touched_per_token_are_as_inspected() {
    for golden in golden_folders() {
        for weights in [WeightFormat::F32, WeightFormat::Q8, WeightFormat::Q4] {
            let packed = Packed::new(&golden.folder, weights, KvFormat::Q8);
            let blob = packed.file.blob().unwrap();
            let inspected = touched_weight_bytes(&blob);
            packed.session(&briquette_tests::Run::default(), |session| {
                session.prefill(&golden.prompts[0].ids).unwrap();
                let before = session.traffic();
                session.decode(3).unwrap();
                let after = session.traffic();
                let counted = after.weights - before.weights;
                assert_eq!(counted, inspected.weights, "{} {weights:?}", golden.name);
                let experts = after.experts - before.experts;
                assert_eq!(experts, inspected.experts, "{} {weights:?}", golden.name);
            });
        }
    }
}
