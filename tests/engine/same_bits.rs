//! The same briquette and tokens give the same bits, whatever does the work.

use briquette::pack::WeightFormat;
use briquette_engine::Isa;
use briquette_engine::cpu::{Serial, Team, Threads};
use briquette_engine::quant::KvFormat;
use briquette_tests::{Packed, Run, golden_folders, repository};

const FORMATS: [(WeightFormat, KvFormat); 5] = [
    (WeightFormat::F32, KvFormat::F32),
    (WeightFormat::F16, KvFormat::F16),
    (WeightFormat::Q8, KvFormat::Q8),
    (WeightFormat::Q4, KvFormat::Q8),
    (WeightFormat::Q4, KvFormat::Q4),
];

fn bits(logits: Vec<f32>) -> Vec<u32> {
    logits.into_iter().map(f32::to_bits).collect()
}

fn with_team(team: &Threads) -> Run<Threads> {
    Run {
        team: team.clone(),
        isa: Isa::detect(),
        batch: 64,
    }
}

/// The logits after each of `ids`, decoded one at a time.
fn one_by_one<T: Team + Clone + Send>(packed: &Packed, run: &Run<T>, ids: &[u32]) -> Vec<f32> {
    packed.session(run, |session| {
        let decode = |id: &u32| session.decode(*id).unwrap().to_vec();
        ids.iter().flat_map(decode).collect()
    })
}

#[test]
fn instruction_sets_threads_and_batches_change_nothing() {
    let two = Threads::new(2).unwrap();
    let three = Threads::new(3).unwrap();
    let available: Vec<_> = Isa::available().map(Isa::name).collect();
    println!("instruction sets here: {available:?}");
    for golden in golden_folders() {
        let prompt = golden.prompts.last().unwrap();
        for (weights, kv) in FORMATS {
            let packed = Packed::new(&golden.folder, weights, kv);
            let reference = Run {
                team: Serial,
                isa: Isa::PORTABLE,
                batch: 64,
            };
            let expected = bits(packed.logits(&reference, &prompt.ids));
            let what = format!("{} {weights:?}/{kv:?}", golden.name);
            for isa in Isa::available() {
                let run = Run { isa, ..reference };
                assert_eq!(
                    bits(packed.logits(&run, &prompt.ids)),
                    expected,
                    "{what} {isa:?}"
                );
            }
            for batch in [1, 7] {
                let run = Run {
                    batch,
                    ..Run::default()
                };
                let logits = bits(packed.logits(&run, &prompt.ids));
                assert_eq!(logits, expected, "{what}, batches of {batch}");
            }
            for team in [&two, &three] {
                let run = Run {
                    team: team.clone(),
                    isa: Isa::detect(),
                    batch: 16,
                };
                let logits = bits(packed.logits(&run, &prompt.ids));
                assert_eq!(logits, expected, "{what}, {team:?}");
            }
            // A token alone takes other ways than a batch.
            let decoded = [
                one_by_one(&packed, &Run::default(), &prompt.ids),
                one_by_one(&packed, &with_team(&two), &prompt.ids),
            ];
            for logits in decoded {
                assert_eq!(bits(logits), expected, "{what}, token by token");
            }
        }
    }
}

/// Contexts of several chunks of attention, which threads share when one token
/// stands alone: latents, few heads a key, and a sliding window.
#[test]
fn long_contexts_change_nothing_either() {
    const TOKENS: u32 = 700;
    let two = Threads::new(2).unwrap();
    let three = Threads::new(3).unwrap();
    for name in ["tiny-v2", "v2-group", "tiny-llama", "qwen2-window"] {
        let folder = repository().join("tests/golden").join(name);
        for kv in [KvFormat::F16, KvFormat::Q8, KvFormat::Q4] {
            let packed = Packed::with_context(&folder, WeightFormat::Q8, kv, TOKENS);
            let vocab = packed.file.blob().unwrap().manifest().config.vocab_size;
            let ids: Vec<u32> = (0..TOKENS).map(|i| i * i % vocab).collect();
            let reference = Run {
                team: Serial,
                isa: Isa::PORTABLE,
                batch: 64,
            };
            let expected = bits(packed.logits(&reference, &ids));
            for isa in Isa::available() {
                let run = Run { isa, ..reference };
                let found = bits(packed.logits(&run, &ids));
                assert!(found == expected, "{name} {kv:?} {isa:?}");
            }
            for (team, batch) in [(&two, 1), (&three, 1), (&three, 50)] {
                let run = Run {
                    team: team.clone(),
                    isa: Isa::detect(),
                    batch,
                };
                let found = bits(packed.logits(&run, &ids));
                assert!(
                    found == expected,
                    "{name} {kv:?} {team:?}, batches of {batch}"
                );
            }
        }
    }
}
