//! Our logits against the reference implementation's.

use briquette::pack::WeightFormat;
use briquette_engine::quant::KvFormat;
use briquette_tests::{Golden, Packed, Run, golden_folders, kl_divergence, largest_difference};

/// The bound on the largest absolute difference of a logit.
const TOLERANCE: f32 = 1e-3;

#[test]
fn f32_logits_and_greedy_tokens_are_the_references() {
    for golden in golden_folders() {
        let packed = Packed::new(&golden.folder, WeightFormat::F32, KvFormat::F32);
        for (i, prompt) in golden.prompts.iter().enumerate() {
            let logits = packed.logits(&Run::default(), &prompt.ids);
            let difference = largest_difference(&logits, &prompt.logits);
            println!(
                "{} prompt {i}: largest difference {difference:.2e}",
                golden.name
            );
            assert!(
                difference < TOLERANCE,
                "{} prompt {i}: {difference}",
                golden.name
            );
            let greedy = packed.greedy(&Run::default(), &prompt.ids, prompt.greedy.len());
            assert_eq!(greedy, prompt.greedy, "{} prompt {i}", golden.name);
        }
    }
}

/// Both spellings of a configuration must mean the same model.
#[test]
fn published_configurations_load_alike() {
    let mut found = 0;
    for golden in golden_folders() {
        let published = golden.folder.join("config.published.json");
        if !published.is_file() {
            continue;
        }
        found += 1;
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&golden.folder).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        std::fs::copy(&published, folder.path().join("config.json")).unwrap();
        let packed = Packed::new(folder.path(), WeightFormat::F32, KvFormat::F32);
        let prompt = &golden.prompts[0];
        let logits = packed.logits(&Run::default(), &prompt.ids);
        let difference = largest_difference(&logits, &prompt.logits);
        assert!(difference < TOLERANCE, "{}: {difference}", golden.name);
    }
    assert!(found >= 4, "only {found} published configurations");
}

/// Rotating the latent for a four-bit cache changes the weights and not the
/// model: with an exact cache, the logits are the reference's.
#[test]
fn rotated_latents_are_the_same_model() {
    let mut rotated = 0;
    for golden in golden_folders() {
        let packed = Packed::new(&golden.folder, WeightFormat::F32, KvFormat::Q4);
        for (i, prompt) in golden.prompts.iter().enumerate() {
            let run = Run::default();
            let logits = packed.logits_with_cache(&run, KvFormat::F32, &prompt.ids);
            let difference = largest_difference(&logits, &prompt.logits);
            assert!(
                difference < TOLERANCE,
                "{} prompt {i}: {difference}",
                golden.name
            );
        }
        let exact = Packed::new(&golden.folder, WeightFormat::F32, KvFormat::F32);
        rotated += usize::from(payload(&exact) != payload(&packed));
    }
    assert!(rotated >= 5, "only {rotated} checkpoints have latents");
}

fn payload(packed: &Packed) -> Vec<u8> {
    packed.file.blob().unwrap().payload().to_vec()
}

#[test]
fn q8_stays_close_to_the_reference() {
    for golden in golden_folders() {
        let divergence = measure(&golden, WeightFormat::Q8, KvFormat::Q8);
        assert!(divergence < 0.02, "{}: {divergence} nats", golden.name);
    }
}

/// Random weights have no redundancy, so four bits cost more here than on a
/// trained model; the bound only catches what is broken.
#[test]
fn q4_is_measured() {
    for golden in golden_folders() {
        let divergence = measure(&golden, WeightFormat::Q4, KvFormat::Q8);
        assert!(divergence < 1.0, "{}: {divergence} nats", golden.name);
        let divergence = measure(&golden, WeightFormat::Q8, KvFormat::Q4);
        assert!(divergence < 0.3, "{}: {divergence} nats", golden.name);
    }
}

/// Mean divergence over all prompts; prints it, and at how many positions
/// quantisation changed an expert choice.
fn measure(golden: &Golden, weights: WeightFormat, kv: KvFormat) -> f64 {
    let exact = Packed::new(&golden.folder, WeightFormat::F32, KvFormat::F32);
    let rounded = Packed::new(&golden.folder, weights, kv);
    let (mut sum, mut positions, mut flips) = (0.0, 0, 0);
    for prompt in &golden.prompts {
        let vocab = prompt.logits.len() / prompt.ids.len();
        let logits = rounded.logits(&Run::default(), &prompt.ids);
        sum += kl_divergence(&prompt.logits, &logits, vocab) * prompt.ids.len() as f64;
        positions += prompt.ids.len();
        let routes = [&exact, &rounded].map(|packed| routing(packed, &prompt.ids));
        flips += routes[0]
            .iter()
            .zip(&routes[1])
            .filter(|(a, b)| a != b)
            .count();
    }
    let mean = sum / positions as f64;
    println!(
        "{} {weights:?}/{kv:?}: {mean:.5} nats; other experts at {flips} of {positions} positions",
        golden.name
    );
    mean
}

/// A digest of each position's expert choices.
fn routing(packed: &Packed, ids: &[u32]) -> Vec<u64> {
    packed.session(&Run::default(), |session| {
        let each = ids.iter().map(|id| {
            session.decode(*id).unwrap();
            session.routing_digest()
        });
        each.collect()
    })
}
