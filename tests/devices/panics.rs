//! Inference cannot panic on a microcontroller: its program, with everything
//! optimised, has no call of what panics.

use briquette_tests::{printed, script};

#[test]
fn inference_cannot_panic() {
    let places = printed(&mut script("firmware/scripts/panics"));
    assert_eq!(places, "");
}

#[test]
fn a_place_that_can_panic_is_found() {
    let places = printed(script("firmware/scripts/panics").arg("control"));
    let control = "firmware/checks/inference/src/bin/control.rs:";
    assert!(places.contains(control), "{places}");
}
