//! A GGUF file and the Hugging Face folder that it was made from are the same
//! model. The files were written with the Python package `gguf`
//! (tests/golden/make_gguf.py).

use briquette::pack::WeightFormat;
use briquette_engine::quant::KvFormat;
use briquette_tests::{Golden, Packed, Run, kl_divergence, largest_difference, repository};

fn check(file: &str, golden: &str, bound: f64) {
    let golden = Golden::open(repository().join("tests/golden").join(golden));
    let path = repository().join("tests/golden/gguf").join(file);
    let packed = Packed::new(&path, WeightFormat::F32, KvFormat::F32);
    for prompt in &golden.prompts {
        let logits = packed.logits(&Run::default(), &prompt.ids);
        let vocab = prompt.logits.len() / prompt.ids.len();
        let divergence = kl_divergence(&prompt.logits, &logits, vocab);
        let difference = largest_difference(&prompt.logits, &logits);
        println!("{file}: {divergence:.2e} nats, largest difference {difference:.2e}");
        assert!(divergence < bound, "{file}: {divergence}");
    }
}

#[test]
fn deepseek2_with_split_kv_b_sigmoid_groups_and_yarn() {
    check("tiny-v3.q8_0.gguf", "tiny-v3", 0.05);
}

#[test]
fn deepseek2_with_kv_b_in_one_piece_groups_and_biases() {
    check("v2-group.legacy.f32.gguf", "v2-group", 1e-9);
}

#[test]
fn llama_with_permuted_rows_experts_and_a_window() {
    check("mixtral.f32.gguf", "mixtral", 1e-9);
}

#[test]
fn qwen3moe() {
    check("tiny-qwen3moe.q8_0.gguf", "tiny-qwen3moe", 0.02);
}

/// Eight-bit codes are kept, not rounded again: packing as `q8` loses nothing.
#[test]
fn source_codes_are_kept() {
    let path = repository().join("tests/golden/gguf/tiny-v3.q8_0.gguf");
    let folder = repository().join("tests/golden/tiny-v3");
    let prompt = &Golden::open(folder).prompts[0];
    let exact = Packed::new(&path, WeightFormat::F32, KvFormat::F32);
    let kept = Packed::new(&path, WeightFormat::Q8, KvFormat::F32);
    let vocab = prompt.logits.len() / prompt.ids.len();
    let [exact, kept] = [exact, kept].map(|p| p.logits(&Run::default(), &prompt.ids));
    // What is left is the rounding of activations.
    assert!(kl_divergence(&exact, &kept, vocab) < 0.01);
}
