//! The demonstration, and the training of the model that it shows.

use std::fs;

use briquette::train::sentry::{Bound, Problem, Reading, Split};

use crate::command::{fail, in_repository, json, succeed};

/// What the README's first command shows, and that it was not learnt by heart.
#[test]
fn the_demo_fits_its_board_and_answers_what_it_has_never_seen() {
    let cache = tempfile::tempdir().unwrap();
    let shown = succeed(&[
        "demo",
        "--models",
        &in_repository("models"),
        "--cache",
        cache.path().to_str().unwrap(),
    ]);
    assert!(shown.contains("fits RP2350, Cortex-M33: arena "), "{shown}");
    let question = "> pump 17 max 12 tank 9 min 11 fan 8 max 8 alarms ?";
    assert!(shown.contains(question), "{shown}");
    assert!(shown.ends_with("\npump tank\n"), "{shown}");
    let reading = |name, value, bound, limit| Reading {
        name,
        value,
        bound,
        limit,
    };
    let problem = Problem {
        readings: vec![
            reading(0, 17, Bound::Max, 12),
            reading(1, 9, Bound::Min, 11),
            reading(2, 8, Bound::Max, 8),
        ],
    };
    assert_eq!(problem.split(), Split::HeldOut);
    let nowhere = fail(&[
        "demo",
        "--models",
        "nowhere",
        "--cache",
        cache.path().to_str().unwrap(),
    ]);
    assert!(nowhere.contains("--models"), "{nowhere}");
}

#[test]
fn training_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let recipe = in_repository("models/sentry/recipe.toml");
    let missing = fail(&["train", "sft", "--recipe", "nowhere.toml", "--out", out]);
    assert!(missing.contains("nowhere.toml"), "{missing}");
    let first = fail(&["train", "grpo", "--recipe", &recipe, "--out", out]);
    assert!(first.contains("briquette train sft"), "{first}");
    let nothing = fail(&["train", "eval", "--recipe", &recipe, "--out", out]);
    assert!(nothing.contains("train first"), "{nothing}");
    // The text of this recipe is not beside it.
    let text = folder.path().join("recipe.toml");
    fs::copy(in_repository("models/kjv/recipe.toml"), &text).unwrap();
    let unread = fail(&[
        "train",
        "sft",
        "--recipe",
        text.to_str().unwrap(),
        "--out",
        out,
    ]);
    assert!(unread.contains("kjv.txt"), "{unread}");
    let scores = json(&[
        "train",
        "eval",
        "--recipe",
        &recipe,
        "--model",
        &in_repository("models/sentry"),
        "--problems",
        "20",
        "--samples",
        "2",
        "--weights",
        "q4",
    ]);
    let scores = scores["models"][0]["scores"].as_array().unwrap().clone();
    assert_eq!(scores.len(), 4);
    assert!(
        scores
            .iter()
            .all(|s| s["greedy_right"].as_f64().unwrap() > 0.8)
    );
}
