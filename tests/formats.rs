//! Files of every released version of the format stay readable.

use briquette::loaded::BriqFile;
use briquette_engine::Session;
use briquette_engine::blob::{MAJOR_VERSION, MINOR_VERSION};
use briquette_engine::cpu::{Plan, PlanOptions};
use briquette_tests::{Golden, kl_divergence, repository};

/// One file a version, all made from the golden checkpoint `v2-group` with
/// `--weights q8 --kv q8 --context 64`.
const VERSIONS: [&str; 1] = ["v1.0"];

#[test]
fn every_released_version_opens_and_answers() {
    let golden = Golden::open(repository().join("tests/golden/v2-group"));
    let prompt = &golden.prompts[0];
    for version in VERSIONS {
        let path = repository().join(format!("tests/formats/{version}.briq"));
        let file = BriqFile::open(&path).unwrap();
        let blob = file.blob().unwrap();
        blob.verify().unwrap();
        let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest())).unwrap();
        let mut arena = briquette::loaded::Arena::for_plan(&plan).unwrap();
        let vocab = blob.manifest().config.vocab_size as usize;
        let mut session = Session::new(blob, &plan, arena.bytes_mut()).unwrap();
        let (mut row, mut logits) = (vec![0.0; vocab], Vec::new());
        session
            .score(&prompt.ids, &mut row, |_, row| {
                logits.extend_from_slice(row)
            })
            .unwrap();
        let divergence = kl_divergence(&prompt.logits, &logits, vocab);
        assert!(divergence < 0.02, "{version}: {divergence}");
    }
}

#[test]
fn the_version_that_we_write_is_kept() {
    let current = format!("v{MAJOR_VERSION}.{MINOR_VERSION}");
    assert!(
        VERSIONS.contains(&current.as_str()),
        "keep a file of {current}"
    );
}
