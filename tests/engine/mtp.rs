//! The layer for multi-token prediction: it drafts what the reference drafts, and
//! speculative decoding changes no result.

use briquette::pack::WeightFormat;
use briquette::run::Arena;
use briquette_engine::blob::{Blob, BlobError, HEADER_LEN, Header, Role, TensorRecord};
use briquette_engine::cpu::{Serial, Team, Threads};
use briquette_engine::quant::KvFormat;
use briquette_engine::snapshot::SnapshotError;
use briquette_engine::{EngineError, Isa, Plan, PlanOptions, Session};
use briquette_tests::{Golden, Packed, largest_difference, most_likely, repository};
use safetensors::SafeTensors;

fn golden() -> Golden {
    Golden::open(repository().join("tests/golden/v3-yarn-mscale"))
}

fn packed(weights: WeightFormat, kv: KvFormat) -> Packed {
    Packed::with_mtp(&golden().folder, weights, kv)
}

/// The reference's draft logits of prompt `prompt`: `[ids - 1, vocabulary]`.
fn reference(golden: &Golden, prompt: usize) -> Vec<f32> {
    let bytes = std::fs::read(golden.folder.join("mtp.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(&format!("draft_logits_{prompt}")).unwrap();
    let numbers = tensor.data().as_chunks().0.iter();
    numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn with_session<T: Team + Clone + Send, R>(
    file: &[u8],
    team: &T,
    batch: u32,
    mtp: bool,
    work: impl FnOnce(&mut Session<'_, T>) -> R,
) -> R {
    let blob = Blob::open(file).unwrap();
    let options = PlanOptions {
        batch,
        logits: batch,
        mtp,
        ..PlanOptions::packed(blob.manifest())
    };
    let plan = Plan::new(blob.manifest(), options).unwrap();
    let mut arena = Arena::for_plan(&plan).unwrap();
    let (memory, isa) = (arena.bytes_mut(), Isa::detect());
    let mut session = Session::with_team(blob, &plan, memory, team.clone(), isa).unwrap();
    let result = work(&mut session);
    assert_eq!(session.arena_used(), plan.arena_bytes());
    result
}

/// The draft logits after each pair of neighbours in `ids`, which are
/// taken in `step` at a time.
fn draft_logits<T: Team + Clone + Send>(
    file: &[u8],
    team: &T,
    batch: u32,
    ids: &[u32],
    step: usize,
) -> Vec<f32> {
    with_session(file, team, batch, true, |session| {
        let mut logits = Vec::new();
        for (i, taken) in ids.chunks(step).enumerate() {
            session.prefill(taken).unwrap();
            if let Some(next) = ids.get(i * step + taken.len()) {
                assert_eq!(session.draft(*next, &mut [0]).unwrap(), 1);
                logits.extend_from_slice(session.draft_logits());
            }
        }
        logits
    })
}

#[test]
fn f32_draft_logits_are_the_references() {
    let golden = golden();
    let packed = packed(WeightFormat::F32, KvFormat::F32);
    let file = packed.file.blob().unwrap().bytes();
    for (i, prompt) in golden.prompts.iter().enumerate() {
        let expected = reference(&golden, i);
        let found = draft_logits(file, &Serial, 64, &prompt.ids, 1);
        let difference = largest_difference(&found, &expected);
        println!("prompt {i}: largest difference {difference:.2e}");
        assert!(difference < 1e-3, "prompt {i}: {difference}");
    }
}

#[test]
fn guesses_have_the_same_bits_for_any_threads_and_batch() {
    let golden = golden();
    let ids = &golden.prompts[1].ids;
    let vocab = golden.prompts[1].logits.len() / ids.len();
    let two = Threads::new(2).unwrap();
    for (weights, kv) in [
        (WeightFormat::Q8, KvFormat::Q8),
        (WeightFormat::Q4, KvFormat::Q4),
    ] {
        let packed = packed(weights, kv);
        let file = packed.file.blob().unwrap().bytes();
        let expected = draft_logits(file, &Serial, 64, ids, 1);
        assert!(expected.iter().all(|logit| logit.is_finite()));
        for (batch, step) in [(1, 1), (1, 5), (3, 5), (64, 5), (64, 13)] {
            let rows = expected.chunks(vocab).skip(step - 1).step_by(step);
            let rows: Vec<f32> = rows.flatten().copied().collect();
            let serial = draft_logits(file, &Serial, batch, ids, step);
            assert!(serial == rows, "{weights:?}, {step} in batches of {batch}");
            let shared = draft_logits(file, &two, batch, ids, step);
            assert!(shared == rows, "{weights:?}, {step}, two threads");
        }
    }
}

/// Greedy tokens and all logits on the way, with `guesses` tokens drafted ahead.
fn generate(file: &[u8], ids: &[u32], count: usize, guesses: usize) -> (Vec<u32>, Vec<u32>) {
    with_session(file, &Serial, 8, guesses > 0, |session| {
        let vocab = session.blob().manifest().config.vocab_size as usize;
        let (mut row, mut bits, mut tokens) = (vec![0.0; vocab], Vec::new(), Vec::new());
        let mut next = most_likely(session.prefill(ids).unwrap());
        while tokens.len() < count {
            let mut tried = vec![next; 1 + guesses];
            let guessed = session.draft(next, &mut tried[1..]).unwrap();
            assert_eq!(guessed, guesses);
            let (mut holds, mut kept) = (true, session.position());
            session
                .score(&tried, &mut row, |i, logits| {
                    if holds {
                        tokens.push(tried[i]);
                        bits.extend(logits.iter().map(|logit| logit.to_bits()));
                        next = most_likely(logits);
                        kept += 1;
                        holds = tried.get(i + 1) == Some(&next);
                    }
                })
                .unwrap();
            session.truncate(kept);
        }
        tokens.truncate(count);
        bits.truncate(count * vocab);
        (tokens, bits)
    })
}

#[test]
fn guessing_changes_neither_tokens_nor_bits() {
    let ids = &golden().prompts[0].ids;
    for (weights, kv) in [
        (WeightFormat::Q8, KvFormat::Q8),
        (WeightFormat::Q4, KvFormat::Q4),
    ] {
        let packed = packed(weights, kv);
        let file = packed.file.blob().unwrap().bytes();
        let plain = generate(file, ids, 60, 0);
        for guesses in [1, 2, 5] {
            assert!(generate(file, ids, 60, guesses) == plain, "{guesses}");
        }
    }
}

/// A layer that is broken makes bad drafts and nothing else; one that is not
/// asked for is not read.
#[test]
fn a_poisoned_layer_changes_no_result() {
    let ids = &golden().prompts[0].ids;
    let packed = packed(WeightFormat::Q8, KvFormat::Q8);
    let blob = packed.file.blob().unwrap();
    let layer = blob.manifest().mtp_layer().unwrap();
    let start = blob.layer_tensors(layer).next().unwrap();
    let start = (blob.payload_offset() + start.record().offset) as usize;
    let mut lines = vec![0_u64; blob.bytes().len().div_ceil(8)];
    let poisoned = &mut bytemuck::cast_slice_mut(&mut lines)[..blob.bytes().len()];
    poisoned.copy_from_slice(blob.bytes());
    let end = (blob.payload_offset() as usize) + blob.payload().len();
    poisoned[start..end].fill(0x7f);
    let plain = generate(blob.bytes(), ids, 40, 0);
    assert!(generate(poisoned, ids, 40, 0) == plain);
    assert!(generate(poisoned, ids, 40, 3) == plain);
}

#[test]
fn files_without_the_layer_are_as_they_were() {
    let golden = golden();
    let with = packed(WeightFormat::Q4, KvFormat::Q8);
    let without = Packed::new(&golden.folder, WeightFormat::Q4, KvFormat::Q8);
    let (with, without) = (with.file.blob().unwrap(), without.file.blob().unwrap());
    assert_eq!(without.bytes()[8..10], 1_u16.to_le_bytes());
    assert_eq!(with.bytes()[8..10], 3_u16.to_le_bytes());
    assert_eq!(
        with.manifest().memory.kv_bytes,
        without.manifest().memory.kv_bytes
    );
    // Embedding and head are there once: the layers come after all else.
    let shared = without.payload().len();
    assert_eq!(with.payload()[..shared], *without.payload());
    let layer = with.manifest().mtp_layer().unwrap();
    let roles: Vec<Role> = with.layer_tensors(layer).map(|t| t.record().role).collect();
    assert_eq!(roles[..4], Role::MTP);
    assert!(roles.contains(&Role::ExpertDown) && !roles.contains(&Role::LmHead));

    let options = PlanOptions {
        mtp: true,
        ..PlanOptions::packed(without.manifest())
    };
    let error = Plan::new(without.manifest(), options).unwrap_err();
    assert_eq!(error, EngineError::NoMtpLayer);
}

#[test]
fn damaged_files_are_refused() {
    let packed = packed(WeightFormat::Q4, KvFormat::Q8);
    let file = packed.file.blob().unwrap().bytes();
    let mut lines = vec![0_u64; file.len().div_ceil(8)];
    let copy = &mut bytemuck::cast_slice_mut(&mut lines)[..file.len()];
    copy.copy_from_slice(file);
    let (header, manifest) = Header::decode(file).unwrap();
    let manifest_end = header.payload_offset as usize;
    for len in (0..manifest_end).chain((manifest_end..file.len()).step_by(509)) {
        assert!(Blob::open(&copy[..len]).is_err(), "{len} bytes opened");
    }
    // An older version has no word for the layer.
    for major in [1, 2] {
        copy[..HEADER_LEN].copy_from_slice(&header.with_major(major).encode(manifest));
        let error = Blob::open(copy).unwrap_err();
        let (found, needed) = (major, 3);
        assert_eq!(error, BlobError::VersionTooLow { found, needed });
    }
    // Whatever opens with a changed manifest must run.
    let mut manifest = manifest.to_vec();
    for at in 0..manifest.len() {
        for flip in [0x01, 0x04, 0xff] {
            manifest[at] ^= flip;
            copy[..HEADER_LEN].copy_from_slice(&header.encode(&manifest));
            copy[HEADER_LEN..HEADER_LEN + manifest.len()].copy_from_slice(&manifest);
            if let Ok(blob) = Blob::open(copy) {
                draft_if_bearable(&blob);
            }
            manifest[at] ^= flip;
        }
    }
}

fn draft_if_bearable(blob: &Blob<'_>) {
    let options = PlanOptions {
        context: 4,
        batch: 2,
        mtp: true,
        ..PlanOptions::packed(blob.manifest())
    };
    let plan = Plan::new(blob.manifest(), options);
    if let Some(plan) = plan.ok().filter(|plan| plan.arena_bytes() < 64 << 20) {
        let mut arena = Arena::for_plan(&plan).unwrap();
        let mut session = Session::new(blob.clone(), &plan, arena.bytes_mut()).unwrap();
        let _ = session.prefill(&[0, 1]);
        let _ = session.draft(2, &mut [0; 3]);
    }
}

/// Drafts stop where the cache ends, and there is nothing to draft from before
/// the first token.
#[test]
fn guesses_fit_the_cache() {
    let packed = packed(WeightFormat::Q4, KvFormat::Q8);
    let blob = packed.file.blob().unwrap();
    let options = PlanOptions {
        context: 6,
        mtp: true,
        ..PlanOptions::packed(blob.manifest())
    };
    let plan = Plan::new(blob.manifest(), options).unwrap();
    let mut arena = Arena::for_plan(&plan).unwrap();
    let mut session = Session::new(blob, &plan, arena.bytes_mut()).unwrap();
    let guesses = &mut [0; 9];
    assert_eq!(session.draft(1, guesses), Ok(0));
    session.prefill(&[1, 2, 3]).unwrap();
    assert_eq!(session.draft(4, guesses), Ok(2));
    let unknown = session.draft(96, guesses).unwrap_err();
    assert!(matches!(
        unknown,
        EngineError::UnknownToken { token: 96, .. }
    ));
    session.prefill(&[4, 5]).unwrap();
    assert_eq!(session.draft(6, guesses), Ok(0));
    session.prefill(&[6]).unwrap();
    let full = session.draft(7, guesses).unwrap_err();
    assert!(matches!(full, EngineError::ContextFull { .. }));
}

/// Snapshots go from sessions that speculate to those that do not, and back.
#[test]
fn snapshots_suit_sessions_with_and_without_guesses() {
    let ids = &golden().prompts[1].ids;
    let packed = packed(WeightFormat::Q8, KvFormat::Q8);
    let file = packed.file.blob().unwrap().bytes();
    let save = |mtp| {
        with_session(file, &Serial, 8, mtp, |session| {
            session.prefill(ids).unwrap();
            let mut bytes = Vec::new();
            let write = |piece: &[u8]| {
                bytes.extend_from_slice(piece);
                Ok::<(), SnapshotError>(())
            };
            session.save(ids, write).unwrap();
            bytes
        })
    };
    let (with, without) = (save(true), save(false));
    assert!(with.len() > without.len());
    let go_on = |snapshot: &[u8], mtp| {
        with_session(file, &Serial, 8, mtp, |session| {
            session.restore(snapshot).unwrap();
            let guessed = session.draft(7, &mut [0]).unwrap();
            assert_eq!(guessed, usize::from(mtp));
            session.prefill(&[7, 8, 9]).unwrap().to_vec()
        })
    };
    let expected = go_on(&without, false);
    for (snapshot, mtp) in [(&without, true), (&with, false), (&with, true)] {
        assert!(go_on(snapshot, mtp) == expected);
    }
}

#[test]
fn the_reader_counts_entries_right() {
    let packed = packed(WeightFormat::Q4, KvFormat::Q8);
    let blob = packed.file.blob().unwrap();
    let layers = blob.manifest().layers.len();
    let of_layers = (0..layers).flat_map(|layer| blob.layer_tensors(layer));
    let entries = blob.model_tensors().chain(of_layers).count();
    assert_eq!(entries, blob.manifest().tensors.len() / TensorRecord::BYTES);
    assert_eq!(blob.layer_tensors(layers).count(), 0);
}
