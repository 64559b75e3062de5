//! Experts that are read from storage when tokens choose them: the bits of a
//! mapped file in as much memory as was planned, and nothing read in vain.

mod failures;

use std::collections::HashSet;

use briquette::pack::WeightFormat;
use briquette::run::Arena;
use briquette_engine::blob::{Blob, Role, TensorRecord};
use briquette_engine::cpu::{ArenaLine, Serial};
use briquette_engine::quant::KvFormat;
use briquette_engine::storage::{BlockStorage, NorStorage, READ_UNIT, ReadFailed, load};
use briquette_engine::{EngineError, Isa, Plan, PlanOptions, Session};
use briquette_tests::{Golden, Packed, Run, golden_folders, repository};
use embedded_storage::nor_flash::{ErrorType, NorFlashErrorKind, ReadNorFlash, check_read};

/// A file behind a trait, which notes what is read and may fail.
struct Recorder {
    file: Vec<u8>,
    reads: Vec<(u64, u64)>,
    /// The read that fails, counted from 0.
    fails_at: Option<usize>,
}

impl Recorder {
    fn new(file: &[u8]) -> Self {
        Self {
            file: file.to_vec(),
            reads: Vec::new(),
            fails_at: None,
        }
    }
}

impl BlockStorage for Recorder {
    fn capacity(&self) -> u64 {
        self.file.len() as u64
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadFailed> {
        assert_eq!(offset % READ_UNIT as u64, 0);
        assert_eq!(bytes.len() % READ_UNIT, 0);
        let number = self.reads.len();
        self.reads.push((offset, bytes.len() as u64));
        if self.fails_at == Some(number) {
            // A failing device may leave anything behind.
            bytes.fill(0x7f);
            return Err(ReadFailed);
        }
        let start = offset as usize;
        bytes.copy_from_slice(&self.file[start..start + bytes.len()]);
        Ok(())
    }
}

/// Memory at an address that suits an arena.
fn memory(bytes: u64) -> Vec<ArenaLine> {
    vec![bytemuck::Zeroable::zeroed(); bytes.div_ceil(64) as usize]
}

fn plan(blob: &Blob<'_>, slots: u32, batch: u32) -> Plan {
    let options = PlanOptions {
        batch,
        logits: batch,
        expert_slots: slots,
        ..PlanOptions::packed(blob.manifest())
    };
    Plan::new(blob.manifest(), options).unwrap()
}

/// Loads the model of `storage` into exactly the planned memory and hands a
/// session to `work`.
fn stored<R>(
    storage: &mut Recorder,
    slots: u32,
    batch: u32,
    work: impl FnOnce(&mut Session<'_>) -> R,
) -> R {
    let file = copy(&storage.file);
    let blob = Blob::open(&bytemuck::cast_slice(&file)[..storage.file.len()]).unwrap();
    let resident = blob.loaded_bytes();
    let needed = resident + plan(&blob, slots, batch).arena_bytes();
    let mut lines = memory(needed);
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut lines);
    let (blob, rest) = load(storage, &mut bytes[..needed as usize]).unwrap();
    assert_eq!(blob.bytes().len() as u64, resident);
    let plan = plan(&blob, slots, batch);
    assert_eq!(rest.len() as u64, plan.arena_bytes());
    let session = Session::with_storage(blob, storage, &plan, rest, Serial, Isa::detect());
    let mut session = session.unwrap();
    assert_eq!(session.arena_used(), plan.arena_bytes());
    work(&mut session)
}

fn copy(file: &[u8]) -> Vec<ArenaLine> {
    let mut lines = memory(file.len() as u64);
    bytemuck::cast_slice_mut(&mut lines)[..file.len()].copy_from_slice(file);
    lines
}

fn score(session: &mut Session<'_>, ids: &[u32]) -> Result<Vec<u32>, EngineError> {
    let vocab = session.blob().manifest().config.vocab_size as usize;
    let mut row = vec![0.0; vocab];
    let mut bits = Vec::new();
    session.score(ids, &mut row, |_, row| {
        bits.extend(row.iter().map(|logit| logit.to_bits()))
    })?;
    Ok(bits)
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// The golden checkpoints that have experts.
fn mixtures() -> Vec<Golden> {
    let is_mixture = |golden: &Golden| {
        let config = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
        ["n_routed_experts", "num_experts", "num_local_experts"]
            .iter()
            .any(|key| config.contains(key))
    };
    let found: Vec<_> = golden_folders().into_iter().filter(is_mixture).collect();
    let names: HashSet<_> = found.iter().map(|golden| golden.name.as_str()).collect();
    for name in ["tiny-v2", "tiny-v3", "tiny-qwen3moe", "mixtral"] {
        assert!(names.contains(name), "{name} is missing");
    }
    found
}

/// The first byte and the bytes of every expert in the file.
fn extents(blob: &Blob<'_>) -> HashSet<(u64, u64)> {
    let layers = blob.manifest().config.num_hidden_layers as usize;
    let records = (0..layers).flat_map(|layer| blob.layer_tensors(layer));
    let gates: Vec<TensorRecord> = records
        .map(|tensor| *tensor.record())
        .filter(|record| record.role == Role::ExpertGate)
        .collect();
    let of_layer = |gate: &TensorRecord| {
        let (first, stride) = (blob.payload_offset() + gate.offset, gate.stride);
        (0..u64::from(gate.count)).map(move |expert| (first + expert * stride, stride))
    };
    gates.iter().flat_map(of_layer).collect()
}

#[test]
fn any_number_of_slots_gives_the_bits_of_the_mapped_file() {
    for golden in mixtures() {
        let ids = &golden.prompts.last().unwrap().ids;
        for (weights, kv) in [
            (WeightFormat::F32, KvFormat::F32),
            (WeightFormat::Q8, KvFormat::Q8),
            (WeightFormat::Q4, KvFormat::Q8),
        ] {
            let packed = Packed::new(&golden.folder, weights, kv);
            let expected = bits(&packed.logits(&Run::default(), ids));
            let blob = packed.file.blob().unwrap();
            let count = blob.manifest().expert_sizes().count as u32;
            for slots in [1, 2, 3, count / 2, count - 1, count, count + 9] {
                for batch in [1, 64] {
                    let mut storage = Recorder::new(blob.bytes());
                    let found = stored(&mut storage, slots, batch, |s| score(s, ids).unwrap());
                    let what = format!("{} {weights:?}, {slots} slots", golden.name);
                    assert!(found == expected, "{what}, batches of {batch}");
                }
            }
        }
    }
}

/// A token reads the experts that it goes through, each in one piece, and not
/// a byte of any other; a batch reads each of its experts once.
#[test]
fn only_chosen_experts_are_read_and_only_once_a_batch() {
    for golden in mixtures() {
        let packed = Packed::new(&golden.folder, WeightFormat::Q4, KvFormat::Q8);
        let blob = packed.file.blob().unwrap();
        let all = extents(&blob);
        let top_k = blob.manifest().config.moe.unwrap().top_k as usize;
        let layers = blob.moe_layers(usize::MAX);

        let mut storage = Recorder::new(blob.bytes());
        let ids = &golden.prompts[0].ids;
        let one = stored(&mut storage, 1, 1, |s| score(s, &ids[..1]).unwrap());
        let chosen: Vec<_> = storage.reads.iter().filter(|r| all.contains(r)).collect();
        assert_eq!(chosen.len(), layers * top_k, "{}", golden.name);
        // Nothing else was read of any expert.
        for (offset, bytes) in storage.reads.iter().filter(|read| !all.contains(read)) {
            let overlaps =
                |(start, len): &(u64, u64)| offset < &(start + len) && *start < offset + bytes;
            assert!(!all.iter().any(overlaps), "{}", golden.name);
        }
        // So the bytes of all others may be anything.
        let unread: Vec<_> = all.iter().filter(|e| !chosen.contains(e)).collect();
        let mut poisoned = Recorder::new(blob.bytes());
        for (offset, bytes) in unread {
            poisoned.file[*offset as usize..(offset + bytes) as usize].fill(0x7f);
        }
        let again = stored(&mut poisoned, 1, 1, |s| score(s, &ids[..1]).unwrap());
        assert!(again == one, "{}", golden.name);

        let mut storage = Recorder::new(blob.bytes());
        stored(&mut storage, 1, 64, |s| {
            s.prefill(&ids[..ids.len().min(64)]).map(|_| ()).unwrap()
        });
        let read: Vec<_> = storage.reads.iter().filter(|r| all.contains(r)).collect();
        let distinct: HashSet<_> = read.iter().collect();
        assert_eq!(read.len(), distinct.len(), "{}: one batch", golden.name);
    }
}

#[test]
fn with_a_slot_for_each_expert_everything_ends_up_in_memory() {
    for golden in mixtures() {
        let packed = Packed::new(&golden.folder, WeightFormat::Q8, KvFormat::Q8);
        let blob = packed.file.blob().unwrap();
        let count = blob.manifest().expert_sizes().count as u32;
        let ids = &golden.prompts.last().unwrap().ids;
        let mut storage = Recorder::new(blob.bytes());
        stored(&mut storage, count, 1, |session| {
            score(session, ids).unwrap();
            let first = session.traffic().storage;
            assert!(first.misses > 0 && first.misses <= count.into());
            session.truncate(0);
            score(session, ids).unwrap();
            let second = session.traffic().storage.since(&first);
            assert_eq!((second.misses, second.bytes), (0, 0), "{}", golden.name);
            assert_eq!(second.hits, first.hits + first.misses);
        });
    }
}

/// More slots, fewer reads: what a share of the experts saves, in numbers.
#[test]
fn hits_grow_with_the_slots_and_are_counted() {
    let source = repository().join("models/sentry");
    let packed = Packed::with_context(&source, WeightFormat::Q4, KvFormat::Q8, 256);
    let blob = packed.file.blob().unwrap();
    let count = blob.manifest().expert_sizes().count as u32;
    let (all, top_k) = (extents(&blob), blob.manifest().config.moe.unwrap().top_k);
    let ids: Vec<u32> = packed.greedy(&Run::default(), &[1, 2, 3], 64);
    let fetches = 64 * u64::from(top_k) * blob.moe_layers(usize::MAX) as u64;
    let mut before = u64::MAX;
    for slots in 1..=count {
        let mut storage = Recorder::new(blob.bytes());
        let traffic = stored(&mut storage, slots, 1, |session| {
            score(session, &ids).unwrap();
            session.traffic()
        });
        let found = traffic.storage;
        let read: Vec<_> = storage.reads.iter().filter(|r| all.contains(r)).collect();
        assert_eq!(found.misses, read.len() as u64);
        assert_eq!(
            found.bytes,
            read.iter().map(|(_, bytes)| bytes).sum::<u64>()
        );
        assert_eq!(found.hits + found.misses, fetches);
        println!(
            "sentry, {slots} of {count} experts in memory: {:.1} % hits, {} bytes read per token",
            100.0 * found.hits as f64 / fetches as f64,
            found.bytes / 64,
        );
        if slots.is_multiple_of(blob.moe_layers(usize::MAX) as u32) {
            assert!(found.misses <= before, "{slots} slots");
            before = found.misses;
        }
    }
}

/// Serial flash as its drivers are: small units, an offset, a size.
struct Flash(Vec<u8>);

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 64;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let start = offset as usize;
        bytes.copy_from_slice(&self.0[start..start + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

/// Behind a driver, after other things, and beside a mapped copy of the rest.
#[test]
fn serial_flash_serves_through_its_driver() {
    let golden = Golden::open(repository().join("tests/golden/mixtral"));
    let packed = Packed::new(&golden.folder, WeightFormat::Q4, KvFormat::Q8);
    let ids = &golden.prompts[0].ids;
    let expected = bits(&packed.logits(&Run::default(), ids));
    let blob = packed.file.blob().unwrap();
    let mut flash = vec![0xff; 4096];
    flash.extend_from_slice(blob.bytes());
    let plan = plan(&blob, 2, 8);

    let mut storage = NorStorage::new(Flash(flash.clone()), 4096);
    let mut lines = memory(blob.loaded_bytes() + plan.arena_bytes());
    let (loaded, rest) = load(&mut storage, bytemuck::cast_slice_mut(&mut lines)).unwrap();
    let session = Session::with_storage(loaded, &mut storage, &plan, rest, Serial, Isa::detect());
    assert!(score(&mut session.unwrap(), ids).unwrap() == expected);

    // The rest in place, only the experts from flash.
    let mut storage = NorStorage::new(Flash(flash), 4096);
    let mut arena = Arena::for_plan(&plan).unwrap();
    let memory = arena.bytes_mut();
    let session = Session::with_storage(blob, &mut storage, &plan, memory, Serial, Isa::detect());
    assert!(score(&mut session.unwrap(), ids).unwrap() == expected);
}
