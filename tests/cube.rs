//! The kernels for graphics processors, on whatever Vulkan device there is:
//! against the reference implementation and against the executor on the
//! processor. Mesa's software Vulkan will do.

use briquette_tests::burn::{compare_with_processor, compare_with_reference};
use burn::backend::Wgpu;

#[test]
fn kernels_compute_the_references_logits() {
    compare_with_reference::<Wgpu>();
}

#[test]
fn kernels_round_as_the_processor_does() {
    compare_with_processor::<Wgpu>(false);
}
