//! Guided outputs: whatever a model prefers, the form holds.

use briquette::chat::TextModel;
use briquette::pack::WeightFormat;
use briquette_engine::quant::KvFormat;
use briquette_engine::text::{
    Guide, GuideError, GuideOptions, Part, Stops, Tag, TagRules, TagStream, Tokenizer,
};
use briquette_tests::{Packed, repository};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// What a model of random taste writes under the guide.
fn write(tokenizer: &Tokenizer<'_>, options: GuideOptions, seed: u64, limit: usize) -> Vec<u32> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut guide = Guide::new(*tokenizer, Stops::new(&[], tokenizer), options).unwrap();
    let mut tokens = Vec::new();
    while !guide.is_done() && tokens.len() < limit {
        let draw = |_| (rng.next_u32() >> 8) as f32 / (1 << 24) as f32;
        let mut logits: Vec<f32> = (0..tokenizer.vocabulary()).map(draw).collect();
        // A taste for what matters: brackets, tags and the end.
        for (id, logit) in logits.iter_mut().enumerate() {
            let bytes = tokenizer.token_bytes(id as u32);
            if bytes.contains(&b'<') || bytes.contains(&b'>') || bytes.ends_with(b"think") {
                *logit *= 1.5;
            }
        }
        guide.constrain(&mut logits);
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let token = best.unwrap() as u32;
        assert!(
            logits[token as usize] > f32::NEG_INFINITY,
            "nothing is allowed"
        );
        guide.take(token);
        tokens.push(token);
    }
    tokens
}

fn text(tokenizer: &Tokenizer<'_>, tokens: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokenizer.decode(tokens, false, |piece| bytes.extend_from_slice(piece));
    bytes
}

fn find(bytes: &[u8], tag: Tag) -> Option<usize> {
    let tag = tag.text().as_bytes();
    bytes.windows(tag.len()).position(|window| window == tag)
}

/// Takes `<think>…</think><answer>…</answer>` apart, or says what is wrong.
fn check_form(bytes: &[u8]) -> Result<(), String> {
    let mut rest = bytes;
    for (tag, may_stand_before) in Tag::ALL.into_iter().zip([false, true, false, true]) {
        let at = find(rest, tag).ok_or(format!("{} is missing", tag.text()))?;
        if at > 0 && !may_stand_before {
            return Err(format!("text before {}", tag.text()));
        }
        if Tag::ALL
            .iter()
            .any(|other| find(&rest[..at], *other).is_some())
        {
            return Err(format!("another tag before {}", tag.text()));
        }
        rest = &rest[at + tag.text().len()..];
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err("text at the end".into())
    }
}

/// Runs `test` with tokenizers whose tags are single tokens, whole words, and
/// spelt in pieces.
fn for_tokenizers(test: impl Fn(&str, &Tokenizer<'_>)) {
    for name in [
        "models/sentry",
        "tests/golden/tiny-v3",
        "tests/golden/tiny-v2",
    ] {
        let source = repository().join(name);
        let packed = Packed::new(&source, WeightFormat::Q8, KvFormat::Q8);
        let blob = packed.file.blob().unwrap();
        test(name, TextModel::new(&blob).unwrap().tokenizer());
    }
    let smollm2 = repository().join("models/cache/SmolLM2-135M-Instruct-q4.briq");
    let file = briquette::run::BriqFile::open(&smollm2)
        .expect("fetch the model with: cargo run --release -- demo smollm2 --fetch-only");
    let blob = file.blob().unwrap();
    test("SmolLM2", TextModel::new(&blob).unwrap().tokenizer());
}

#[test]
fn the_form_holds_whatever_the_model_prefers() {
    for_tokenizers(|name, tokenizer| {
        let cases = if tokenizer.vocabulary() > 10_000 {
            12
        } else {
            200
        };
        let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
        let needed = needed(tokenizer);
        runner
            .run(
                &(any::<u64>(), 0..60_u32, 0..40_u32),
                |(seed, spare, thinking)| {
                    let total = needed + spare;
                    let options = GuideOptions {
                        guarantee: true,
                        thinking,
                        total,
                        start: Part::Outside,
                        rules: TagRules::SPELT,
                    };
                    let tokens = write(tokenizer, options, seed, 1000);
                    let bytes = text(tokenizer, &tokens);
                    let shown = String::from_utf8_lossy(&bytes).into_owned();
                    prop_assert!(tokens.len() <= total as usize, "{shown}");
                    prop_assert_eq!(check_form(&bytes), Ok(()), "{}: {}", name, shown);
                    Ok(())
                },
            )
            .unwrap();
    });
}

/// A stop token that only the manifest names ends nothing halfway, and can be what
/// ends a complete output.
#[test]
fn the_manifest_s_stop_tokens_are_known_too() {
    for_tokenizers(|name, tokenizer| {
        let stop = tokenizer.id_of(b"a").or(tokenizer.id_of(b" pump")).unwrap();
        let stops = Stops::new(&[stop], tokenizer);
        assert!(stops.contains(stop), "{name}");
        assert!(tokenizer.eos().is_none_or(|eos| stops.first() == Some(eos)));
        let options = GuideOptions {
            guarantee: true,
            thinking: u32::MAX,
            total: 100,
            start: Part::Thinking,
            rules: TagRules::SPELT,
        };
        let guide = Guide::new(*tokenizer, stops, options).unwrap();
        let mut logits = vec![0.0; tokenizer.vocabulary() as usize];
        guide.constrain(&mut logits);
        assert_eq!(logits[stop as usize], f32::NEG_INFINITY, "{name}");
    });
}

/// Tokens of all tags: one less is refused, with the number.
fn needed(tokenizer: &Tokenizer<'_>) -> u32 {
    let options = GuideOptions {
        guarantee: true,
        thinking: 0,
        total: 3,
        start: Part::Outside,
        rules: TagRules::SPELT,
    };
    match Guide::new(*tokenizer, Stops::new(&[], tokenizer), options) {
        Err(GuideError::TooShort { needed, total: 3 }) => needed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_budget_alone_closes_the_thought_and_opens_the_answer() {
    for_tokenizers(|name, tokenizer| {
        for thinking in [0, 1, 9] {
            let options = GuideOptions {
                guarantee: false,
                thinking,
                total: u32::MAX,
                start: Part::Thinking,
                rules: TagRules::SPELT,
            };
            let mut guide = Guide::new(*tokenizer, Stops::new(&[], tokenizer), options).unwrap();
            let mut tokens = Vec::new();
            for _ in 0..thinking + 30 {
                let mut logits = vec![0.0; tokenizer.vocabulary() as usize];
                // It would think for ever.
                let word = tokenizer.id_of(b"a").or(tokenizer.id_of(b" pump")).unwrap();
                logits[word as usize] = 1.0;
                guide.constrain(&mut logits);
                let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
                guide.take(best.unwrap() as u32);
                tokens.push(best.unwrap() as u32);
            }
            let thought = text(tokenizer, &tokens[..thinking as usize]);
            assert_eq!(find(&thought, Tag::EndThink), None, "{name}");
            let after = text(tokenizer, &tokens[thinking as usize..]);
            assert!(after.starts_with(b"</think><answer>"), "{name}");
        }
    });
}

#[test]
fn a_prompt_that_opened_the_thought_is_continued() {
    for_tokenizers(|name, tokenizer| {
        let options = GuideOptions {
            guarantee: true,
            thinking: 5,
            total: 80,
            start: Part::Thinking,
            rules: TagRules::SPELT,
        };
        let tokens = write(tokenizer, options, 11, 1000);
        let mut bytes = b"<think>".to_vec();
        bytes.extend(text(tokenizer, &tokens));
        assert_eq!(check_form(&bytes), Ok(()), "{name}");
    });
}

/// The tokenizer has `<think>` as a token: only that token is the tag.
#[test]
fn a_tag_that_is_a_token_is_not_its_letters() {
    for_tokenizers(|name, tokenizer| {
        let rules = TagRules::of_model(tokenizer, "");
        let Some(tag) = tokenizer
            .id_of(b"<think>")
            .filter(|id| tokenizer.flags(*id).added)
        else {
            assert!(!rules.marks_thoughts(), "{name}");
            let mentioned = TagRules::of_model(tokenizer, "{{ '</think>' }}");
            assert!(mentioned.marks_thoughts(), "{name}");
            assert_eq!(mentioned.part_after(tokenizer, &[]), Part::Outside);
            return;
        };
        assert!(rules.marks_thoughts(), "{name}");
        assert_eq!(rules.tag_of(tag), Some(Tag::Think), "{name}");
        let mut stream = TagStream::new(Part::Outside, rules);
        let mut shown = Vec::new();
        stream.push(b"<think>a", |part, bytes| {
            shown.push((part, bytes.to_vec()))
        });
        stream.push_token(tag, b"<think>", |_, _| panic!("{name}: a tag has no text"));
        stream.push(b"b", |part, bytes| shown.push((part, bytes.to_vec())));
        let expected = [
            (Part::Outside, b"<think>a".to_vec()),
            (Part::Thinking, b"b".to_vec()),
        ];
        assert_eq!(shown, expected, "{name}");
        assert_eq!(rules.part_after(tokenizer, &[tag]), Part::Thinking);
        let space = tokenizer.id_of(b"\n").or(tokenizer.id_of(b" "));
        if let Some(space) = space {
            assert_eq!(rules.part_after(tokenizer, &[tag, space]), Part::Thinking);
        }
        let letter = tokenizer.id_of(b"a").or(tokenizer.id_of(b" pump")).unwrap();
        assert_eq!(rules.part_after(tokenizer, &[tag, letter]), Part::Outside);
        assert_eq!(TagRules::NONE.part_after(tokenizer, &[tag]), Part::Outside);
    });
}
