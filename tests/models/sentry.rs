//! The model that ships: as good as its card says, on what will run.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use briquette::pack::WeightFormat;
use briquette::train::sentry::{Problem, Split};
use briquette::train::{Evaluation, EvaluationOptions};
use briquette_engine::quant::KvFormat;
use briquette_tests::{Packed, Run, largest_difference};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use serde_json::Value;

fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/sentry")
}

fn evaluate(weights: WeightFormat, kv: KvFormat, guarantee: bool) -> Evaluation {
    let options = EvaluationOptions {
        sensors: vec![2, 3, 4, 5],
        problems: 500,
        samples: 1,
        max_tokens: 64,
        weights,
        kv,
        guarantee,
        seed: 1,
        threads: NonZeroUsize::new(2).unwrap(),
    };
    Evaluation::run(&model(), &options).unwrap()
}

fn mean(scores: impl Iterator<Item = f64>) -> f64 {
    let scores: Vec<f64> = scores.collect();
    scores.iter().sum::<f64>() / scores.len() as f64
}

#[test]
fn four_bits_answer_as_well_as_thirty_two() {
    let exact = evaluate(WeightFormat::F32, KvFormat::F32, false);
    let packed = evaluate(WeightFormat::Q4, KvFormat::Q8, false);
    for (exact, packed) in exact.scores.iter().zip(&packed.scores) {
        let (a, b) = (exact.greedy_right, packed.greedy_right);
        println!("{} sensors: greedy f32 {a:.3}, q4 {b:.3}", exact.sensors);
        let floor = if exact.sensors < 4 { 0.97 } else { 0.8 };
        assert!(b >= floor, "{} sensors: {b}", exact.sensors);
    }
    for right in [
        |e: &Evaluation| mean(e.scores.iter().map(|s| s.greedy_right)),
        |e: &Evaluation| mean(e.scores.iter().map(|s| s.sampled_right)),
    ] {
        let (exact, packed) = (right(&exact), right(&packed));
        assert!(packed > exact - 0.01, "{exact} {packed}");
    }
    let formed = mean(exact.scores.iter().map(|s| s.sampled_well_formed));
    assert!(formed >= 0.95, "{formed}");
}

#[test]
fn two_thousand_guaranteed_answers_are_all_well_formed() {
    let found = evaluate(WeightFormat::Q4, KvFormat::Q8, true);
    for score in found.scores {
        assert!(
            (score.sampled_well_formed - 1.0).abs() < f64::EPSILON,
            "{score:?}"
        );
        assert!(
            (score.greedy_well_formed - 1.0).abs() < f64::EPSILON,
            "{score:?}"
        );
    }
}

#[test]
fn no_problem_is_on_both_sides() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut draw = |split| -> std::collections::HashSet<Problem> {
        (0..20_000)
            .map(|i| Problem::draw(&mut rng, 2 + i % 4, split))
            .collect()
    };
    let (seen, held_out) = (draw(Split::Training), draw(Split::HeldOut));
    assert!(seen.is_disjoint(&held_out));
    assert!(
        held_out
            .iter()
            .all(|problem| problem.split() == Split::HeldOut)
    );
}

/// `golden/sentry.json` holds what transformers computed for the checkpoint.
#[test]
fn logits_are_those_of_transformers() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/sentry.json");
    let golden: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let packed = Packed::with_context(&model(), WeightFormat::F32, KvFormat::F32, 96);
    let mut worst = 0.0_f32;
    for prompt in golden["prompts"].as_array().unwrap() {
        let numbers = |key: &str| -> Vec<f64> {
            let list = prompt[key].as_array().unwrap().iter();
            list.map(|number| number.as_f64().unwrap()).collect()
        };
        let ids: Vec<u32> = numbers("ids").iter().map(|id| *id as u32).collect();
        let expected: Vec<f32> = numbers("last_logits").iter().map(|l| *l as f32).collect();
        let logits = packed.logits(&Run::default(), &ids);
        let last = &logits[logits.len() - expected.len()..];
        worst = worst.max(largest_difference(last, &expected));
        let greedy: Vec<u32> = numbers("greedy").iter().map(|id| *id as u32).collect();
        assert_eq!(packed.greedy(&Run::default(), &ids, greedy.len()), greedy);
    }
    println!("sentry: logits within {worst:.1e} of transformers");
    assert!(worst < 1e-3);
}
