//! Training from nothing: it learns, survives an interruption, and says what
//! is wrong.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use briquette::train::{Recipe, StageName, TrainError, Training, TrainingBackend};

const RECIPE: &str = r#"
name = "short"
seed = 3

[task]
kind = "sentry"
sensors = [2]

[model]
hidden_size = 48
num_hidden_layers = 2
num_attention_heads = 2
qk_nope_head_dim = 16
qk_rope_head_dim = 16
v_head_dim = 16
kv_lora_rank = 32
intermediate_size = 96
moe_intermediate_size = 32
n_routed_experts = 4
num_experts_per_tok = 2
n_shared_experts = 1
first_k_dense_replace = 1
rope_theta = 10000.0
rms_norm_eps = 1e-6
max_position_embeddings = 64

[sft]
steps = 400
batch = 32
microbatch = 16
rate = { first = 5e-3, last = 5e-4, warmup = 20, fall = "cosine" }

[grpo]
steps = 15
prompts = 16
group = 16
updates = 2
microbatch = 16
clip = 0.2
max_tokens = 32
sensors = [2]
rate = { first = 1e-3, last = 1e-4 }
"#;

/// The recipe with some settings exchanged.
fn training(out: &Path, threads: usize, changes: &[(&str, &str)]) -> Training {
    let mut text = RECIPE.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let path = out.join("recipe.toml");
    fs::write(&path, text).unwrap();
    let recipe = Recipe::read(&path).unwrap();
    Training::new(recipe, out, NonZeroUsize::new(threads).unwrap()).unwrap()
}

fn weights(training: &Training, stage: StageName) -> Vec<u8> {
    fs::read(training.folder(stage).join("model.safetensors")).unwrap()
}

fn mean(numbers: &[f32]) -> f32 {
    numbers.iter().sum::<f32>() / numbers.len() as f32
}

#[test]
fn rewards_rise_after_imitation() {
    let folder = tempfile::tempdir().unwrap();
    let training = training(folder.path(), 2, &[]);
    let mut losses = Vec::new();
    training
        .sft::<TrainingBackend>(false, &mut |_, row| {
            losses.push(row[0]);
            true
        })
        .unwrap();
    assert_eq!(losses.len(), 400);
    let (first, last) = (mean(&losses[..10]), mean(&losses[390..]));
    assert!(last < 0.2 * first, "the loss went from {first} to {last}");

    let mut rewards = Vec::new();
    training
        .grpo::<TrainingBackend>(false, &mut |_, row| {
            rewards.push(row[0]);
            true
        })
        .unwrap();
    let (first, last) = (mean(&rewards[..3]), mean(&rewards[12..]));
    println!("short pipeline: reward {first:.2} to {last:.2}");
    assert!(last > first + 0.2, "the reward went from {first} to {last}");
    for name in ["base", "grpo"] {
        let table = fs::read_to_string(folder.path().join(name).with_extension("csv")).unwrap();
        assert!(table.starts_with("step,"), "{table}");
        let picture = fs::read_to_string(folder.path().join(name).with_extension("svg")).unwrap();
        assert!(picture.contains("<svg") && picture.contains("polyline"));
    }
}

/// A few small steps.
const FEW: [(&str, &str); 3] = [
    ("steps = 400", "steps = 6"),
    ("batch = 32", "batch = 12"),
    (
        "microbatch = 16\nrate = { first = 5e-3",
        "microbatch = 4\nrate = { first = 5e-3",
    ),
];

#[test]
fn an_interrupted_run_ends_like_an_uninterrupted_one_for_any_threads() {
    let whole = tempfile::tempdir().unwrap();
    let uninterrupted = training(whole.path(), 1, &FEW);
    uninterrupted
        .sft::<TrainingBackend>(false, &mut |_, _| true)
        .unwrap();

    let cut = tempfile::tempdir().unwrap();
    let interrupted = training(cut.path(), 3, &FEW);
    let error = interrupted.sft::<TrainingBackend>(false, &mut |done, _| done < 4);
    assert!(matches!(error, Err(TrainError::Interrupted { done: 4 })));
    assert!(!interrupted.folder(StageName::Base).exists());

    let error = interrupted.sft::<TrainingBackend>(false, &mut |_, _| true);
    assert!(matches!(error, Err(TrainError::Begun { .. })));
    interrupted
        .sft::<TrainingBackend>(true, &mut |_, _| true)
        .unwrap();
    assert!(
        weights(&uninterrupted, StageName::Base) == weights(&interrupted, StageName::Base),
        "resuming changed the result"
    );
    let tables = [whole, cut].map(|folder| fs::read(folder.path().join("base.csv")).unwrap());
    assert_eq!(tables[0], tables[1]);
}

#[test]
fn a_state_is_not_resumed_under_another_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let first = training(folder.path(), 1, &FEW);
    let stop = |done, _: &[f32]| done < 2;
    first
        .sft::<TrainingBackend>(false, &mut { stop })
        .unwrap_err();
    let mut changes = FEW.to_vec();
    changes.push(("seed = 3", "seed = 4"));
    let second = training(folder.path(), 1, &changes);
    let error = second.sft::<TrainingBackend>(true, &mut |_, _| true);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("another recipe"), "{message}");

    let state = folder.path().join("base.state");
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    let error = first.sft::<TrainingBackend>(true, &mut |_, _| true);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("base.state"), "{message}");
}

#[test]
fn divergence_is_reported_and_a_missing_stage_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut changes = FEW.to_vec();
    changes.push((
        "first = 5e-3, last = 5e-4, warmup = 20",
        "first = 1e30, last = 1e30",
    ));
    let training = training(folder.path(), 1, &changes);
    let error = training.sft::<TrainingBackend>(false, &mut |_, _| true);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("diverged"), "{message}");
    assert!(!training.folder(StageName::Base).exists());

    let error = training.grpo::<TrainingBackend>(false, &mut |_, _| true);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("briquette train sft"), "{message}");
}

#[test]
fn impossible_recipes_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    for (from, to, expected) in [
        ("group = 16", "group = 1", "group"),
        ("batch = 32", "batch = 0", "batch"),
        ("hidden_size = 48", "hidden_size = 0", "hidden_size"),
        (
            "qk_rope_head_dim = 16",
            "qk_rope_head_dim = 15",
            "qk_rope_head_dim",
        ),
        (
            "num_experts_per_tok = 2",
            "num_experts_per_tok = 5",
            "num_experts_per_tok",
        ),
        ("sensors = [2]", "sensors = [9]", "sensors"),
        ("first = 5e-3", "first = nan", "rate"),
        ("seed = 3", "sead = 3", "sead"),
        ("kind = \"sentry\"", "kind = \"poetry\"", "poetry"),
    ] {
        assert!(RECIPE.contains(from), "{from}");
        fs::write(&path, RECIPE.replace(from, to)).unwrap();
        let message = Recipe::read(&path).unwrap_err().to_string();
        assert!(message.contains(expected), "{to}: {message}");
        assert!(message.contains("recipe.toml"), "{message}");
    }
}
