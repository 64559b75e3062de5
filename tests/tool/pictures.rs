//! The README's picture of the way from a checkpoint to a device.

use std::fs;

use crate::command::{in_repository, json, succeed};

/// Every number in it is one that the tool reports of the model that comes along.
#[test]
fn the_picture_of_the_way_has_the_bytes_that_inspect_reports() {
    let folder = tempfile::tempdir().unwrap();
    let briquette = folder.path().join("sentry.briq");
    let briquette = briquette.to_str().unwrap();
    let options = "--weights q4 --kv q8 --context 128 --batch 1";
    let mut pack = vec!["pack", "models/sentry", "-o", briquette];
    let checkpoint = in_repository(pack[1]);
    pack[1] = &checkpoint;
    pack.extend(options.split(' '));
    succeed(&pack);
    let report = json(&["inspect", briquette]);
    let weights = in_repository("models/sentry/model.safetensors");
    let mut bytes = vec![fs::metadata(weights).unwrap().len()];
    let pointers = [
        "/file_bytes",
        "/parts/embedding/bytes",
        "/parts/attention/bytes",
        "/parts/mlp/bytes",
        "/parts/experts/bytes",
        "/memory/arena_bytes",
        "/memory/resident_bytes",
        "/memory/kv_bytes",
        "/bytes_touched_per_token/weights",
        "/bytes_touched_per_token/experts",
    ];
    let at = |pointer: &str| report.pointer(pointer).unwrap().as_u64().unwrap();
    bytes.extend(pointers.into_iter().map(at));
    let picture = fs::read_to_string(in_repository(".github/pictures/way.svg")).unwrap();
    for bytes in bytes {
        let shown = format!("{:.1} KiB", bytes as f64 / 1024.0);
        assert!(
            picture.contains(&shown),
            "{shown} is not shown: run `python3 tests/pictures/way.py target/debug/briquette`"
        );
    }
    let cached = format!("adds {} bytes", at("/kv/bytes_per_token"));
    assert!(picture.contains(&cached), "{cached}");
}
