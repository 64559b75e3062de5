//! What a narrower cache costs: bytes, divergence, and whether what stood far
//! back is still found.

use briquette::pack::WeightFormat;
use briquette_engine::Isa;
use briquette_engine::cpu::Threads;
use briquette_engine::kernels::attend::{Attend, Query, QueryPart, attend};
use briquette_engine::kernels::{hadamard, quantize};
use briquette_engine::kv::{RowLayout, Segment};
use briquette_engine::quant::{KvFormat, SegmentFormat};
use briquette_tests::{Packed, Run, kl_divergence, most_likely, repository, smollm2};
use serde_json::Value;

fn two_threads() -> Run<Threads> {
    Run {
        team: Threads::new(2).unwrap(),
        isa: Isa::detect(),
        batch: 64,
    }
}

fn json(path: &str) -> Value {
    let path = repository().join(path);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn a_token_takes_the_bytes_that_the_format_says() {
    let row = |packed: &Packed, kv| {
        let blob = packed.file.blob().unwrap();
        RowLayout::new(&blob.manifest().config, kv).row_bytes
    };
    let formats = [KvFormat::F16, KvFormat::Q8, KvFormat::Q4];
    let sentry = repository().join("models/sentry");
    let sentry = Packed::new(&sentry, WeightFormat::Q4, KvFormat::Q4);
    // Latent 32 and rotated key 16.
    assert_eq!(formats.map(|kv| row(&sentry, kv)), [96, 66, 52]);
    let smollm2 = Packed::new(&smollm2(), WeightFormat::Q4, KvFormat::Q4);
    // Keys and values of three heads of 64.
    assert_eq!(formats.map(|kv| row(&smollm2, kv)), [768, 408, 324]);
}

/// Same weights, same tokens; only the cache differs. Since activations are
/// rounded to eight bits, any change shows: `f32` against `f16` is the floor.
fn divergence(packed: &Packed, kv: KvFormat, windows: &[&[u32]]) -> f64 {
    let run = two_threads();
    let (mut sum, mut positions) = (0.0, 0);
    for window in windows {
        let wide = packed.logits_with_cache(&run, KvFormat::F16, window);
        let narrow = packed.logits_with_cache(&run, kv, window);
        let vocab = wide.len() / window.len();
        sum += kl_divergence(&wide, &narrow, vocab) * window.len() as f64;
        positions += window.len();
    }
    sum / positions as f64
}

#[test]
fn four_bits_stay_close_to_sixteen_on_smollm2() {
    const WINDOW: usize = 512;
    let packed = Packed::with_context(&smollm2(), WeightFormat::Q4, KvFormat::Q4, WINDOW as u32);
    let text = ids(&json("tests/golden/smollm2.json")["text_ids"]);
    let windows: Vec<&[u32]> = text.chunks(WINDOW).take(4).collect();
    for (kv, bound) in [
        (KvFormat::F32, 0.01),
        (KvFormat::Q8, 0.01),
        (KvFormat::Q4, 0.02),
    ] {
        let found = divergence(&packed, kv, &windows);
        println!("SmolLM2, {} cache: {found:.5} nats from f16", kv.name());
        assert!(found < bound, "{found}");
    }
}

#[test]
fn four_bits_stay_close_to_sixteen_on_sentry() {
    let sentry = repository().join("models/sentry");
    let golden = json("tests/golden/sentry.json");
    let prompts = golden["prompts"].as_array().unwrap();
    let texts = prompts
        .iter()
        .map(|prompt| [ids(&prompt["ids"]), ids(&prompt["greedy"])].concat());
    let texts: Vec<Vec<u32>> = texts.collect();
    let windows: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    for weights in [WeightFormat::F32, WeightFormat::Q4] {
        let packed = Packed::new(&sentry, weights, KvFormat::Q4);
        for (kv, bound) in [
            (KvFormat::F32, 0.01),
            (KvFormat::Q8, 0.01),
            (KvFormat::Q4, 0.02),
        ] {
            let found = divergence(&packed, kv, &windows);
            println!(
                "sentry {weights:?}, {} cache: {found:.5} nats from f16",
                kv.name()
            );
            assert!(found < bound, "{found}");
        }
    }
}

/// 1,400 tokens of a novel, then the beginnings of some of its passages, one
/// by one: each must go on as it did, which without the novel nobody can know.
#[test]
fn four_bits_find_what_stands_far_back() {
    const PASSAGES: usize = 14;
    const EACH: usize = 100;
    const BEGINNING: usize = 24;
    const GOES_ON: usize = 24;
    let packed = Packed::with_context(&smollm2(), WeightFormat::Q4, KvFormat::Q4, 2048);
    let novel = ids(&json("tests/golden/smollm2.json")["text_ids"]);
    let novel = &novel[..PASSAGES * EACH];
    let found = |kv, context: &[u32]| -> usize {
        packed.session_with_cache(&two_threads(), kv, |session| {
            if !context.is_empty() {
                session.prefill(context).unwrap();
            }
            let mut row = vec![0.0; session.blob().manifest().config.vocab_size as usize];
            let mut right = 0;
            for passage in novel.chunks(EACH) {
                session.truncate(context.len());
                let passage = &passage[..BEGINNING + GOES_ON];
                session
                    .score(passage, &mut row, |i, logits| {
                        let next = passage.get(i + 1);
                        let asked = i + 1 >= BEGINNING;
                        right += usize::from(asked && next == Some(&most_likely(logits)));
                    })
                    .unwrap();
            }
            right
        })
    };
    let alone = found(KvFormat::F16, &[]);
    let (wide, narrow) = (found(KvFormat::F16, novel), found(KvFormat::Q4, novel));
    let all = PASSAGES * GOES_ON;
    println!("of {all} tokens: f16 {wide}, q4 {narrow}, without the novel {alone}");
    assert!(wide > 2 * alone, "the model itself finds only {wide}");
    // An f32 cache finds two tokens fewer than f16: rounded activations alone
    // move the count by a few, up or down.
    assert!(narrow + all / 100 >= wide);
}

/// One head, 2,048 keys with outlying channels as trained models have them:
/// each query must find its key.
#[test]
fn one_head_finds_each_key_among_two_thousand() {
    const KEYS: usize = 2048;
    const DIM: usize = 64;
    let mut state = 1_u32;
    let mut noise = || {
        // The sum of some uniform numbers is nearly normal.
        let uniform = (0..6).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        });
        uniform.sum::<f32>() * 0.707
    };
    let mut vector = || -> Vec<f32> { (0..DIM).map(|_| noise()).collect() };
    let mut keys: Vec<Vec<f32>> = (0..KEYS).map(|_| vector()).collect();
    let values: Vec<Vec<f32>> = (0..KEYS).map(|_| vector()).collect();
    let queries = keys.clone();
    for key in &mut keys {
        key[3] += 25.0;
        key[40] -= 18.0;
    }
    let isa = Isa::detect();
    let found = |format: SegmentFormat, rotate: bool| -> usize {
        let key = Segment {
            format,
            offset: 0,
            len: DIM,
        };
        let value = Segment {
            offset: key.bytes(),
            ..key
        };
        let row_bytes = 2 * key.bytes();
        let turned = |vector: &Vec<f32>| {
            let mut vector = vector.clone();
            if rotate {
                hadamard::rotate(isa, &mut vector);
            }
            vector
        };
        let mut rows = vec![0; KEYS * row_bytes];
        for ((row, k), v) in rows.chunks_mut(row_bytes).zip(&keys).zip(&values) {
            key.store(isa, &turned(k), row);
            value.store(isa, &turned(v), row);
        }
        let task = Attend {
            rows: &rows,
            row_bytes,
            keys: [key, key.empty()],
            value,
            scale: 0.5,
        };
        let tries = (0..KEYS).step_by(32);
        let right = tries.filter(|wanted| {
            let query = turned(&queries[*wanted]);
            let (mut codes, mut scales) = ([0; DIM], [0.0; DIM / 32]);
            quantize::quantize(isa, &query, &mut codes, &mut scales, &mut [0; DIM / 32]);
            let part = QueryPart {
                values: &query,
                codes: &codes,
                scales: &scales,
            };
            let query = Query {
                parts: [part, QueryPart::default()],
                first: 0,
                last: KEYS - 1,
            };
            let mut out = [0.0; DIM];
            attend(isa, &task, |_| query, &mut out);
            if rotate {
                hadamard::rotate(isa, &mut out);
            }
            let distance =
                |v: &Vec<f32>| -> f32 { v.iter().zip(out).map(|(a, b)| (a - b) * (a - b)).sum() };
            let nearest =
                (0..KEYS).min_by(|a, b| distance(&values[*a]).total_cmp(&distance(&values[*b])));
            nearest == Some(*wanted)
        });
        right.count()
    };
    let wide = found(SegmentFormat::F16, false);
    let (rotated, as_is) = (
        found(SegmentFormat::Q4, true),
        found(SegmentFormat::Q4, false),
    );
    println!("of 64: f16 {wide}, q4 rotated {rotated}, q4 as it is {as_is}");
    assert_eq!(wide, 64);
    assert_eq!(rotated, wide);
}
