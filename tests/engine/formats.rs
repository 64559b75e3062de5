//! Files of every released version of the format stay readable.

use briquette::pack::WeightFormat;
use briquette::run::BriqFile;
use briquette_engine::blob::{Blob, BlobError, MAJOR_VERSION, MINOR_VERSION};
use briquette_engine::quant::KvFormat;
use briquette_engine::{Plan, PlanOptions, Session};
use briquette_tests::{Golden, Packed, kl_divergence, repository};

/// One file per version and the golden checkpoint that it was made from, with
/// `--weights q8 --kv q8 --context 64`; version 2 with `--kv q4`, version 3 with
/// `--mtp`.
const VERSIONS: [(&str, &str); 3] = [
    ("v1.0", "v2-group"),
    ("v2.0", "v2-group"),
    ("v3.0", "v3-yarn-mscale"),
];

#[test]
fn every_released_version_opens_and_answers() {
    for (version, golden) in VERSIONS {
        let golden = Golden::open(repository().join("tests/golden").join(golden));
        let path = repository().join(format!("tests/formats/{version}.briq"));
        let file = BriqFile::open(&path).unwrap();
        let blob = file.blob().unwrap();
        blob.verify().unwrap();
        let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest())).unwrap();
        let mut arena = briquette::run::Arena::for_plan(&plan).unwrap();
        let vocab = blob.manifest().config.vocab_size as usize;
        let mut session = Session::new(blob, &plan, arena.bytes_mut()).unwrap();
        let (mut row, mut sum, mut positions) = (vec![0.0; vocab], 0.0, 0);
        for prompt in &golden.prompts {
            session.truncate(0);
            let mut logits = Vec::new();
            session
                .score(&prompt.ids, &mut row, |_, row| {
                    logits.extend_from_slice(row)
                })
                .unwrap();
            sum += kl_divergence(&prompt.logits, &logits, vocab) * prompt.ids.len() as f64;
            positions += prompt.ids.len();
        }
        let divergence = sum / positions as f64;
        println!("{version}: {divergence:.5} nats");
        let bound = if version == "v2.0" { 0.1 } else { 0.02 };
        assert!(divergence < bound, "{version}: {divergence}");
    }
}

/// Who has only the crate has a model, and its documents say what that needs.
#[test]
fn the_engine_s_own_model_is_what_the_tool_packs() {
    let file = BriqFile::open(&repository().join("engine/examples/sentry.briq")).unwrap();
    let blob = file.blob().unwrap();
    blob.verify().unwrap();
    let source = repository().join("models/sentry");
    let packed = Packed::with_context(&source, WeightFormat::Q4, KvFormat::Q8, 128);
    let today = packed.file.blob().unwrap();
    let again = "pack models/sentry again: --weights q4 --context 128";
    assert!(blob.payload() == today.payload(), "{again}");
    assert_eq!(blob.manifest().config, today.manifest().config, "{again}");
    let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest())).unwrap();
    for (name, number) in [
        ("README.md", plan.arena_bytes()),
        ("README.md", blob.file_bytes()),
        ("examples/static_arena.rs", plan.arena_bytes()),
    ] {
        let path = repository().join("engine").join(name);
        let text = std::fs::read_to_string(path).unwrap().replace('_', "");
        assert!(text.contains(&number.to_string()), "{name}: {number}");
    }
}

#[test]
fn the_version_that_we_write_is_kept() {
    let current = format!("v{MAJOR_VERSION}.{MINOR_VERSION}");
    assert!(
        VERSIONS.iter().any(|(version, _)| *version == current),
        "keep a file of {current}"
    );
}

/// A reader of an older version sees the version before anything that it has no word
/// for; so does this one with a version of the future.
#[test]
fn a_newer_version_is_refused_by_name() {
    let path = repository().join("tests/formats/v3.0.briq");
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes[8..10], 3_u16.to_le_bytes());
    bytes[8..10].copy_from_slice(&4_u16.to_le_bytes());
    let error = Blob::open(&bytes).unwrap_err();
    assert_eq!(error, BlobError::Version { found: 4, known: 3 });
    assert!(error.to_string().contains("version 4"), "{error}");
}
