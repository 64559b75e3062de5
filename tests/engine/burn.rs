//! Burn's executor against the reference implementation, and against the
//! executor on the processor.

use briquette::pack::WeightFormat;
use briquette_engine::burn::DevicePlan;
use briquette_engine::quant::KvFormat;
use briquette_engine::{EngineError, PlanOptions};
use briquette_tests::burn::{compare_slots, compare_with_processor, compare_with_reference};
use briquette_tests::{Packed, repository};
use burn::backend::{Flex, NdArray};

#[test]
fn flex_computes_the_references_logits() {
    compare_with_reference::<Flex>();
}

#[test]
fn ndarray_computes_the_references_logits() {
    compare_with_reference::<NdArray>();
}

#[test]
fn flex_rounds_as_the_processor_does() {
    compare_with_processor::<Flex>(true);
}

#[test]
fn ndarray_rounds_as_the_processor_does() {
    compare_with_processor::<NdArray>(true);
}

#[test]
fn slots_for_experts_change_no_bit() {
    compare_slots::<Flex>();
}

#[test]
fn experts_get_as_many_slots_as_fit() {
    let source = repository().join("tests/golden/tiny-v3");
    let packed = Packed::new(&source, WeightFormat::Q8, KvFormat::Q8);
    let blob = packed.file.blob().unwrap();
    let options = PlanOptions::packed(blob.manifest());
    let device = Default::default();
    let needed = |expert_slots| {
        let options = PlanOptions {
            expert_slots,
            ..options
        };
        DevicePlan::new::<Flex>(&blob, &options, &device)
            .unwrap()
            .total_bytes()
    };
    let fitting = |free| DevicePlan::fitting::<Flex>(&blob, options, free, &device);
    let (all, least) = (needed(0), needed(blob.moe_layers(usize::MAX) as u32));
    assert_eq!(fitting(all).unwrap().1.expert_slots, 0, "all of them fit");
    for free in [all - 1, (all + least) / 2, least] {
        let (plan, fitted) = fitting(free).unwrap();
        assert_eq!(plan.total_bytes(), needed(fitted.expert_slots));
        assert!(plan.total_bytes() <= free && free < needed(fitted.expert_slots + 1));
    }
    let refused = fitting(least - 1).unwrap_err();
    assert!(
        matches!(refused, EngineError::NeedsDeviceMemory { .. }),
        "{refused}"
    );
}
