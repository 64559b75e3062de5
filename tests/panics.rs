//! Where inference can panic on a microcontroller, if at all.

use briquette_tests::{printed, script};

/// Where the compiler cannot prove that there is none, though no bytes are known
/// that lead there. May this list only ever become shorter.
const KNOWN: [&str; 7] = [
    // Cutting buffers whose lengths the plan has made fit.
    "engine/src/cpu/attention.rs",
    "briquette_engine::cpu::attention::",
    "engine/src/cpu/attend.rs",
    "briquette_engine::cpu::attend::",
    "engine/src/kernels/attend/",
    // What the above have in common, once they are part of their caller.
    "engine/src/cpu/decoder.rs",
    DEPENDENCY,
];

/// A binary search, whose result indexes the table that was searched.
const DEPENDENCY: &str = "unicode-properties-";

#[test]
fn inference_can_panic_in_known_places_only() {
    let places = printed(&mut script("firmware/panics"));
    print!("{places}");
    assert!(places.contains(DEPENDENCY), "the search finds nothing");
    let new: Vec<&str> = places
        .lines()
        .filter(|place| !KNOWN.iter().any(|known| place.contains(known)))
        .collect();
    assert!(new.is_empty(), "inference may panic at {new:#?}");
}
