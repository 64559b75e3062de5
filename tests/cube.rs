//! The kernels for graphics processors, on whatever Vulkan device there is:
//! against the reference implementation and against the executor on the
//! processor. Mesa's software Vulkan will do.

use briquette::pack::WeightFormat;
use briquette_engine::Executor;
use briquette_engine::burn::cube::device_memory;
use briquette_engine::burn::{BurnSession, DevicePlan};
use briquette_engine::cpu::PlanOptions;
use briquette_engine::kv::KvFormat;
use briquette_tests::burn::{compare_slots, compare_with_processor, compare_with_reference};
use briquette_tests::{Packed, repository};
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
