//! Storage that fails, gives other bytes or is too small, and memory that is.

use briquette::pack::WeightFormat;
use briquette::run::Arena;
use briquette_engine::Isa;
use briquette_engine::blob::{Blob, BlobError};
use briquette_engine::cpu::{Plan, Serial};
use briquette_engine::quant::KvFormat;
use briquette_engine::storage::load;
use briquette_engine::{EngineError, Session};
use briquette_tests::{Golden, Packed, Run, repository};

use super::{Recorder, bits, copy, extents, memory, plan, score, stored};

/// Whichever read fails, the error says so, and then everything continues as if
/// nothing had happened.
#[test]
fn a_failing_read_is_an_error_that_leaves_the_session_usable() {
    let golden = Golden::open(repository().join("tests/golden/tiny-v3"));
    let packed = Packed::new(&golden.folder, WeightFormat::Q4, KvFormat::Q8);
    let file = packed.file.blob().unwrap().bytes();
    let ids = &golden.prompts[0].ids;
    let expected = bits(&packed.logits(&Run::default(), ids));

    let mut storage = Recorder::new(file);
    let total = stored(&mut storage, 3, 4, |s| score(s, ids).map(|_| ()));
    total.unwrap();
    let reads = storage.reads.len();
    let mut failures = 0;
    for fails_at in 0..reads {
        let mut storage = Recorder::new(file);
        storage.fails_at = Some(fails_at);
        let plan = plan(&packed.file.blob().unwrap(), 3, 4);
        let mut lines = memory(packed.file.blob().unwrap().loaded_bytes() + plan.arena_bytes());
        let loaded = load(&mut storage, bytemuck::cast_slice_mut(&mut lines));
        let Ok((blob, rest)) = loaded else {
            assert!(matches!(loaded, Err(EngineError::Storage { .. })));
            failures += 1;
            continue;
        };
        let session = Session::with_storage(blob, &mut storage, &plan, rest, Serial, Isa::detect());
        let mut session = match session {
            Ok(session) => session,
            Err(error) => {
                assert!(matches!(error, EngineError::Storage { .. }));
                failures += 1;
                continue;
            }
        };
        // In one call of several batches: the position is as before.
        let error = session.prefill(ids).map(|_| ());
        if let Err(error) = error {
            assert!(matches!(error, EngineError::Storage { .. }), "{error}");
            assert!(error.to_string().contains("storage"), "{error}");
            assert_eq!(session.position(), 0);
            failures += 1;
        }
        session.truncate(0);
        assert!(
            score(&mut session, ids).unwrap() == expected,
            "read {fails_at}"
        );
    }
    assert!(failures > 20, "{failures} reads failed of {reads}");
}

/// Garbage instead of experts is nonsense, but no panic.
#[test]
fn any_bytes_may_come_instead_of_experts() {
    let golden = Golden::open(repository().join("tests/golden/tiny-v2"));
    for weights in [WeightFormat::F32, WeightFormat::Q8, WeightFormat::Q4] {
        let packed = Packed::new(&golden.folder, weights, KvFormat::Q8);
        let blob = packed.file.blob().unwrap();
        for poison in [0x00, 0x7f, 0x80, 0xff] {
            let mut storage = Recorder::new(blob.bytes());
            for (offset, bytes) in extents(&blob) {
                storage.file[offset as usize..(offset + bytes) as usize].fill(poison);
            }
            stored(&mut storage, 2, 64, |s| {
                score(s, &golden.prompts[0].ids).map(|_| ())
            })
            .unwrap();
        }
    }
}

/// What a mapped file is checked for, a stored one is too.
#[test]
fn a_damaged_file_is_refused_while_it_is_loaded() {
    let golden = Golden::open(repository().join("tests/golden/tiny-v3"));
    let packed = Packed::new(&golden.folder, WeightFormat::Q4, KvFormat::Q8);
    let blob = packed.file.blob().unwrap();
    let mut lines = memory(blob.loaded_bytes());
    let front = blob.payload_offset() as usize;
    for at in (0..front).filter(|at| *at < 64 || at % 7 == 0) {
        let mut storage = Recorder::new(blob.bytes());
        storage.file[at] ^= 0x10;
        let file = copy(&storage.file);
        let mapped = Blob::open(&bytemuck::cast_slice(&file)[..storage.file.len()]);
        let found = load(&mut storage, bytemuck::cast_slice_mut(&mut lines));
        match (mapped, found) {
            // A storage may be larger than the file, so wrong lengths are only
            // found by the checksum.
            (Err(BlobError::TrailingBytes { .. }), Err(EngineError::Blob(found))) => {
                assert!(matches!(found, BlobError::ManifestChecksum { .. }), "{at}");
            }
            (Err(expected), Err(EngineError::Blob(found))) => assert_eq!(found, expected, "{at}"),
            // Only the zeros between manifest and payload are not looked at.
            (Ok(_), Ok(_)) => {}
            (mapped, found) => panic!("byte {at}: {mapped:?}, {found:?}"),
        }
    }
    let whole = blob.bytes().len();
    for cut in (0..whole)
        .step_by(997)
        .chain([63, 64, 65, 127, 128, whole - 1])
    {
        let mut storage = Recorder::new(&blob.bytes()[..cut]);
        let error = load(&mut storage, bytemuck::cast_slice_mut(&mut lines)).unwrap_err();
        let is_short = matches!(
            error,
            EngineError::Blob(BlobError::Truncated { .. }) | EngineError::Storage { .. }
        );
        assert!(is_short, "{cut} bytes: {error}");
    }
    // Storage is seldom just as large as the file.
    let mut storage = Recorder::new(blob.bytes());
    storage.file.resize(whole + 5000, 0xff);
    let (loaded, rest) = load(&mut storage, bytemuck::cast_slice_mut(&mut lines)).unwrap();
    assert!(rest.is_empty());
    assert_eq!(loaded.tokenizer_section(), blob.tokenizer_section());
    assert_eq!(loaded.verify(), Err(BlobError::WithoutExperts));
}

#[test]
fn too_little_memory_and_missing_storage_are_named() {
    let golden = Golden::open(repository().join("tests/golden/tiny-v2"));
    let packed = Packed::new(&golden.folder, WeightFormat::Q4, KvFormat::Q8);
    let other = Packed::new(&golden.folder, WeightFormat::Q8, KvFormat::Q8);
    let blob = packed.file.blob().unwrap();
    let resident = blob.loaded_bytes();
    let mut storage = Recorder::new(blob.bytes());
    for short in [0, 63, 64, blob.payload_offset() - 1, resident - 1] {
        let mut lines = memory(resident);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut lines);
        let error = load(&mut storage, &mut bytes[..short as usize]).unwrap_err();
        let EngineError::NeedsMemory { needed, got } = error else {
            panic!("{error}");
        };
        assert!(got == short && short < needed && needed <= resident);
    }
    let mut lines = memory(resident + 64);
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut lines);
    let error = load(&mut storage, &mut bytes[4..]).unwrap_err();
    assert_eq!(error, EngineError::MisalignedArena { needed: 64 });

    let (loaded, _) = load(&mut storage, bytes).unwrap();
    let planned = plan(&loaded, 2, 1);
    let mut arena = Arena::for_plan(&planned).unwrap();
    let error = Session::new(loaded.clone(), &planned, arena.bytes_mut()).unwrap_err();
    assert_eq!(error, EngineError::NoExperts);
    let mut open = |storage: &mut Recorder, plan: &Plan| {
        let memory = arena.bytes_mut();
        let memory = &mut memory[..plan.arena_bytes() as usize];
        Session::with_storage(loaded.clone(), storage, plan, memory, Serial, Isa::detect())
            .map(|_| ())
    };
    assert_eq!(open(&mut storage, &planned), Ok(()));
    let field = "expert_slots";
    let none = plan(&loaded, 0, 1);
    assert_eq!(
        open(&mut storage, &none),
        Err(EngineError::EmptyPlan { field })
    );
    let mut wrong = Recorder::new(other.file.blob().unwrap().bytes());
    assert_eq!(open(&mut wrong, &planned), Err(EngineError::OtherBriquette));
    // A plan for smaller experts than these.
    let mut arena = Arena::for_plan(&planned).unwrap();
    let foreign = other.file.blob().unwrap();
    let session = Session::with_storage(
        foreign,
        &mut wrong,
        &planned,
        arena.bytes_mut(),
        Serial,
        Isa::detect(),
    );
    assert_eq!(session.map(|_| ()), Err(EngineError::OtherPlan));
}
