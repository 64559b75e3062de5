//! The kernels for graphics processors, on whatever Vulkan device there is:
//! against the reference implementation and against the executor on the
//! processor. Mesa's software Vulkan will do.

use briquette::pack::WeightFormat;
use briquette_engine::burn::cube::device_memory;
use briquette_engine::burn::{BurnSession, DevicePlan};
use briquette_engine::quant::KvFormat;
use briquette_engine::text::{Sampler, SamplerOptions};
use briquette_engine::{Executor, PlanOptions};
use briquette_tests::burn::{compare_slots, compare_with_processor, compare_with_reference};
use briquette_tests::{Packed, most_likely, repository};
use burn::backend::Wgpu;
use burn::backend::wgpu::WgpuRuntime;

#[test]
fn kernels_compute_the_references_logits() {
    compare_with_reference::<Wgpu>();
}

#[test]
fn kernels_round_as_the_processor_does() {
    compare_with_processor::<Wgpu>(false);
}

#[test]
fn slots_for_experts_change_no_bit() {
    compare_slots::<Wgpu>();
}

/// A sampler draws the same tokens from those that the device chose as from all.
#[test]
fn few_logits_decide() {
    /// Tokens that repetition is measured by.
    const RECENT: usize = 4;
    let source = repository().join("tests/golden/tiny-v3");
    let packed = Packed::new(&source, WeightFormat::Q8, KvFormat::Q4);
    let blob = packed.file.blob().unwrap();
    let options = PlanOptions::packed(blob.manifest());
    let vocab = blob.manifest().config.vocab_size as usize;
    let mut session = BurnSession::<Wgpu>::new(blob, options, &Default::default()).unwrap();
    let mut draw = |options: SamplerOptions, all: bool| {
        session.truncate(0);
        let mut sampler = Sampler::new(options);
        let mut order = vec![0; vocab];
        let (mut tokens, mut taken) = (vec![3, 1, 4], 0);
        for _ in 0..24 {
            let needed = if all {
                usize::MAX
            } else {
                sampler.needs(RECENT)
            };
            let candidates = session.likeliest(&tokens[taken..], needed).unwrap();
            let got = candidates.logits.len();
            assert_eq!(got, if all { vocab } else { needed });
            let recent = &tokens[tokens.len().saturating_sub(RECENT)..];
            let token = sampler.sample_from(candidates, &mut order, recent);
            taken = tokens.len();
            tokens.push(token.unwrap());
        }
        tokens
    };
    let mild = SamplerOptions {
        temperature: 1.5,
        top_k: 9,
        seed: 11,
        ..SamplerOptions::default()
    };
    for options in [
        SamplerOptions::default(),
        mild,
        SamplerOptions {
            top_p: 0.8,
            min_p: 0.05,
            ..mild
        },
        SamplerOptions {
            repetition_penalty: 1.4,
            ..mild
        },
        SamplerOptions {
            temperature: 0.0,
            repetition_penalty: 1.4,
            ..mild
        },
    ] {
        assert_eq!(draw(options, false), draw(options, true), "{options:?}");
    }
}

/// What drafts are checked against: each token's most likely successor alone.
#[test]
fn rows_need_not_be_read() {
    let source = repository().join("tests/golden/tiny-v3");
    let packed = Packed::new(&source, WeightFormat::Q8, KvFormat::Q8);
    let blob = packed.file.blob().unwrap();
    let options = PlanOptions {
        batch: 7,
        logits: 7,
        ..PlanOptions::packed(blob.manifest())
    };
    let vocab = blob.manifest().config.vocab_size;
    let mut session = BurnSession::<Wgpu>::new(blob, options, &Default::default()).unwrap();
    let ids: Vec<u32> = (0..20).map(|i| i * 37 % vocab).collect();
    let mut row = vec![0.0; vocab as usize];
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let mut add = |i, row: &mut [f32]| expected.push((i, most_likely(row)));
    session.score(&ids, &mut row, &mut add).unwrap();
    session.truncate(0);
    session
        .score_likeliest(&ids, 1, &mut row, &mut |i, candidates| {
            let tokens = candidates.tokens.unwrap();
            assert_eq!(tokens.len(), 1);
            found.push((i, tokens[0]));
        })
        .unwrap();
    assert_eq!(found, expected);
}

/// What the device has set aside after loading and after full batches.
#[test]
fn memory_is_as_planned() {
    let device = Default::default();
    for (name, expert_slots) in [
        ("golden/tiny-v3", 0),
        ("golden/tiny-v3", 8),
        ("../models/sentry", 0),
    ] {
        let source = repository().join("tests").join(name);
        let packed = Packed::with_context(&source, WeightFormat::Q8, KvFormat::Q8, 512);
        let blob = packed.file.blob().unwrap();
        let options = PlanOptions {
            batch: 64,
            logits: 64,
            expert_slots,
            ..PlanOptions::packed(blob.manifest())
        };
        let plan = DevicePlan::new::<Wgpu>(&blob, &options, &device).unwrap();
        // A thread has memory of its own, so nothing else is counted.
        let used = std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                let mut session = BurnSession::<Wgpu>::new(blob, options, &device).unwrap();
                let vocab = session.blob().manifest().config.vocab_size;
                let mut row = vec![0.0; vocab as usize];
                let ids: Vec<u32> = (0..256).map(|i| i * 37 % vocab).collect();
                session.score(&ids, &mut row, &mut |_, _| {}).unwrap();
                session.prefill(&ids).unwrap();
                device_memory::<WgpuRuntime>(&device).unwrap()
            });
            run.join().unwrap()
        });
        let (least, most) = (plan.weight_bytes + plan.cache_bytes, plan.total_bytes());
        println!("{name}: {least} <= {used} <= {most}");
        assert!(least <= used && used <= most, "{name}: {used}, {plan:?}");
    }
}
