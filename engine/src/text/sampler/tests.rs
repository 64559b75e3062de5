//! What is drawn: in which order, of how many, and when not.

extern crate std;

use std::vec::Vec;

use super::*;

const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

/// How often each token is drawn.
fn draw(options: SamplerOptions, times: u32) -> [u32; 5] {
    let mut sampler = Sampler::new(options);
    let mut counts = [0; 5];
    for _ in 0..times {
        let token = sampler.sample(&mut LOGITS.clone(), &mut [0; 5], &[]);
        counts[token.unwrap() as usize] += 1;
    }
    counts
}

fn warm() -> SamplerOptions {
    SamplerOptions {
        temperature: 1.0,
        seed: 7,
        ..SamplerOptions::default()
    }
}

#[test]
fn greedy_takes_the_first_of_the_best() {
    assert_eq!(draw(SamplerOptions::default(), 3), [0, 3, 0, 0, 0]);
}

#[test]
fn frequencies_follow_the_softmax() {
    let counts = draw(warm(), 20_000);
    let sum: f64 = LOGITS.iter().map(|l| libm::exp(f64::from(*l))).sum();
    for (count, logit) in counts.iter().zip(LOGITS) {
        let expected = libm::exp(f64::from(logit)) / sum;
        let found = f64::from(*count) / 20_000.0;
        assert!((found - expected).abs() < 0.015, "{found} {expected}");
    }
}

#[test]
fn cuts_leave_only_the_likely() {
    let top_k = draw(SamplerOptions { top_k: 3, ..warm() }, 500);
    assert!(top_k[0] == 0 && top_k[4] == 0 && top_k[2] > 0);
    // The two best have 0.79 of the probability.
    let top_p = draw(
        SamplerOptions {
            top_p: 0.7,
            ..warm()
        },
        500,
    );
    assert!(top_p[2] == 0 && top_p[1] > 0 && top_p[3] > 0);
    // Token 2 is e^-1 = 0.37 as likely as the best.
    let min_p = draw(
        SamplerOptions {
            min_p: 0.4,
            ..warm()
        },
        500,
    );
    assert_eq!(min_p[1] + min_p[3], 500);
}

#[test]
fn repetition_makes_a_token_less_likely() {
    let mut sampler = Sampler::new(SamplerOptions {
        repetition_penalty: 2.0,
        ..SamplerOptions::default()
    });
    let token = sampler.sample(&mut LOGITS.clone(), &mut [], &[1, 1, 3]);
    assert_eq!(token, Ok(2));
}

#[test]
fn the_seed_decides_everything() {
    assert_eq!(draw(warm(), 50), draw(warm(), 50));
    let other = SamplerOptions { seed: 8, ..warm() };
    assert_ne!(draw(warm(), 50), draw(other, 50));
}

#[test]
fn the_most_likely_decide_alone() {
    let greedy = SamplerOptions::default();
    for options in [
        greedy,
        SamplerOptions { top_k: 3, ..warm() },
        SamplerOptions {
            top_k: 4,
            top_p: 0.9,
            min_p: 0.1,
            repetition_penalty: 1.3,
            ..warm()
        },
    ] {
        let (mut all, mut few) = (Sampler::new(options), Sampler::new(options));
        let recent = [6, 1, 1];
        for round in 0..200 {
            // Many are equal, also where the few end.
            let mut logits: [f32; 40] = core::array::from_fn(|i| ((i * 7 + round) % 5) as f32);
            let mut tokens: Vec<u32> = (0..40).collect();
            tokens.sort_by(|a, b| {
                let [a, b] = [a, b].map(|token| logits[*token as usize]);
                b.total_cmp(&a)
            });
            tokens.truncate(few.needs(recent.len()));
            tokens.sort_unstable();
            let mut kept: Vec<f32> = tokens.iter().map(|t| logits[*t as usize]).collect();
            let candidates = Candidates {
                tokens: Some(&tokens),
                logits: &mut kept,
            };
            assert_eq!(
                few.sample_from(candidates, &mut [0; 40], &recent),
                all.sample(&mut logits, &mut [0; 40], &recent)
            );
        }
    }
}

#[test]
fn all_may_decide_without_a_bound() {
    assert_eq!(Sampler::new(warm()).needs(0), usize::MAX);
    let raises_what_was_said = SamplerOptions {
        repetition_penalty: 0.9,
        ..SamplerOptions::default()
    };
    assert_eq!(Sampler::new(raises_what_was_said).needs(1), usize::MAX);
}

#[test]
fn broken_logits_are_reported() {
    let mut sampler = Sampler::new(warm());
    assert_eq!(
        sampler.sample(&mut [], &mut [], &[]),
        Err(SamplerError::NoLogits)
    );
    assert_eq!(
        sampler.sample(&mut [0.0, f32::NAN], &mut [0; 2], &[]),
        Err(SamplerError::NotANumber { token: 1 })
    );
    let few = Candidates {
        tokens: Some(&[3, 8]),
        logits: &mut [0.0, f32::NAN],
    };
    assert_eq!(
        sampler.sample_from(few, &mut [0; 2], &[]),
        Err(SamplerError::NotANumber { token: 8 })
    );
    let needed = 2;
    assert_eq!(
        sampler.sample(&mut [0.0, 1.0], &mut [0], &[]),
        Err(SamplerError::ScratchTooSmall { needed, got: 1 })
    );
}
