//! Burn's executor against the reference implementation, and against the
//! executor on the processor.

use briquette_tests::burn::{compare_with_processor, compare_with_reference};
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
