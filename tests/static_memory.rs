//! One arena, planned to the byte, and not a single allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use briquette::pack::WeightFormat;
use briquette::run::Arena;
use briquette_engine::blob::Blob;
use briquette_engine::cpu::{ArenaLine, Serial};
use briquette_engine::quant::KvFormat;
use briquette_engine::storage::{BlockStorage, ReadFailed, load};
use briquette_engine::text::{
    EncodeOptions, Guide, GuideOptions, Part, Sampler, SamplerOptions, Scratch, TagRules,
    TagStream, Tokenizer,
};
use briquette_engine::{EngineError, Isa, Session};
use briquette_engine::{Plan, PlanOptions};
use briquette_tests::{Golden, Packed, golden_folders, repository};

/// Counts every allocation of the process.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A file behind a trait.
struct Stored<'a>(&'a [u8]);

impl BlockStorage for Stored<'_> {
    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadFailed> {
        let start = offset as usize;
        bytes.copy_from_slice(&self.0[start..start + bytes.len()]);
        Ok(())
    }
}

fn packed_plan(blob: &Blob<'_>) -> Plan {
    Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest())).unwrap()
}

/// One test, so that nothing else allocates at the same time.
#[test]
fn a_session_allocates_nothing_and_uses_what_was_planned() {
    for golden in golden_folders() {
        for (weights, kv) in [
            (WeightFormat::F32, KvFormat::F32),
            (WeightFormat::Q8, KvFormat::F16),
            (WeightFormat::Q4, KvFormat::Q8),
            (WeightFormat::Q4, KvFormat::Q4),
        ] {
            let packed = Packed::new(&golden.folder, weights, kv);
            let bytes = packed.file.blob().unwrap().bytes();
            let plan = packed_plan(&packed.file.blob().unwrap());
            let recorded = packed.file.blob().unwrap().manifest().memory;
            assert_eq!(plan.contract(recorded.resident_bytes), recorded);
            let mut arena = Arena::for_plan(&plan).unwrap();
            let memory = arena.bytes_mut();
            assert_eq!(memory.len() as u64, plan.arena_bytes());

            let before = ALLOCATIONS.load(Ordering::SeqCst);
            let blob = Blob::open(bytes).unwrap();
            let plan = packed_plan(&blob);
            let mut session = Session::new(blob, &plan, memory).unwrap();
            let mut token = 0;
            for prompt in &golden.prompts {
                session.truncate(0);
                session.prefill(&prompt.ids).unwrap();
                for _ in 0..8 {
                    let logits = session.decode(token).unwrap();
                    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
                    token = best.unwrap() as u32;
                }
            }
            let used = session.arena_used();
            let after = ALLOCATIONS.load(Ordering::SeqCst);
            assert_eq!(after - before, 0, "{} {weights:?}", golden.name);
            assert_eq!(used, plan.arena_bytes(), "{} {weights:?}", golden.name);

            stored_experts_allocate_nothing(bytes, &golden);

            let short = &mut arena.bytes_mut()[..plan.arena_bytes() as usize - 1];
            let error = Session::new(packed.file.blob().unwrap(), &plan, short).unwrap_err();
            let needed = plan.arena_bytes();
            let got = needed - 1;
            assert_eq!(error, EngineError::NeedsMemory { needed, got });
        }
    }
    reasoning_allocates_nothing();
    guessing_allocates_nothing();
    assert!(ALLOCATIONS.load(Ordering::SeqCst) > 0, "the counter counts");
}

/// Experts from storage, in one piece of memory of exactly the planned size.
fn stored_experts_allocate_nothing(file: &[u8], golden: &Golden) {
    let blob = Blob::open(file).unwrap();
    let options = PlanOptions {
        expert_slots: 3,
        ..PlanOptions::packed(blob.manifest())
    };
    let plan = Plan::new(blob.manifest(), options).unwrap();
    let needed = blob.loaded_bytes() + plan.arena_bytes();
    let mut lines = vec![ArenaLine([0; 64]); needed as usize / 64];
    let memory: &mut [u8] = bytemuck::cast_slice_mut(&mut lines);
    assert_eq!(memory.len() as u64, needed);

    let before = ALLOCATIONS.load(Ordering::SeqCst);
    let mut storage = Stored(file);
    let (blob, arena) = load(&mut storage, memory).unwrap();
    let plan = Plan::new(blob.manifest(), options).unwrap();
    assert_eq!(arena.len() as u64, plan.arena_bytes());
    let isa = Isa::detect();
    let session = Session::with_storage(blob, &mut storage, &plan, arena, Serial, isa);
    let mut session = session.unwrap();
    session.prefill(&golden.prompts[0].ids).unwrap();
    for token in 0..8 {
        session.decode(token).unwrap();
    }
    let used = session.arena_used();
    let after = ALLOCATIONS.load(Ordering::SeqCst);
    assert_eq!(after - before, 0, "{} from storage", golden.name);
    assert_eq!(used, plan.arena_bytes(), "{} from storage", golden.name);
}

/// The layer for multi-token prediction, in the arena that was planned for it.
fn guessing_allocates_nothing() {
    let source = repository().join("tests/golden/v3-yarn-mscale");
    let packed = Packed::with_mtp(&source, WeightFormat::Q4, KvFormat::Q8);
    let blob = packed.file.blob().unwrap();
    let options = PlanOptions {
        mtp: true,
        ..PlanOptions::packed(blob.manifest())
    };
    let plan = Plan::new(blob.manifest(), options).unwrap();
    // One more layer has rows, and the batch's hidden states are kept.
    let without = packed_plan(&blob);
    let layers = u64::from(blob.manifest().config.num_hidden_layers);
    assert!(
        plan.kv_bytes()
            .abs_diff(without.kv_bytes() / layers * (layers + 1))
            < 64
    );
    assert!(plan.scratch_bytes() > without.scratch_bytes());
    let mut arena = Arena::for_plan(&plan).unwrap();
    let memory = arena.bytes_mut();

    let before = ALLOCATIONS.load(Ordering::SeqCst);
    let mut session = Session::new(blob, &plan, memory).unwrap();
    let mut row = [0.0; 96];
    let mut tried = [9; 4];
    session.prefill(&[3, 1, 4, 1, 5, 9, 2, 6]).unwrap();
    for _ in 0..8 {
        let (first, guesses) = tried.split_first_mut().unwrap();
        assert_eq!(session.draft(*first, guesses).unwrap(), 3);
        session.score(&tried, &mut row, |_, _| {}).unwrap();
        session.truncate(session.position() - 2);
    }
    let used = session.arena_used();
    let after = ALLOCATIONS.load(Ordering::SeqCst);
    assert_eq!(after - before, 0);
    assert_eq!(used, plan.arena_bytes());

    let short = &mut arena.bytes_mut()[..plan.arena_bytes() as usize - 1];
    let error = Session::new(packed.file.blob().unwrap(), &plan, short).unwrap_err();
    let needed = plan.arena_bytes();
    let got = needed - 1;
    assert_eq!(error, EngineError::NeedsMemory { needed, got });
}

/// From a prompt to an answer, as a device does it: guided, sampled, split.
fn reasoning_allocates_nothing() {
    let source = repository().join("models/sentry");
    let packed = Packed::with_context(&source, WeightFormat::Q4, KvFormat::Q8, 96);
    let bytes = packed.file.blob().unwrap().bytes();
    let plan = packed_plan(&packed.file.blob().unwrap());
    let mut arena = Arena::for_plan(&plan).unwrap();
    let memory = arena.bytes_mut();
    let (mut ids, mut words) = ([0; 64], [0; 512]);
    let mut order = [0; 128];
    let mut answer = [0_u8; 64];
    let mut answered = 0;

    let before = ALLOCATIONS.load(Ordering::SeqCst);
    let blob = Blob::open(bytes).unwrap();
    let tokenizer = Tokenizer::new(blob.tokenizer_section()).unwrap();
    let stops = blob.stops(&tokenizer);
    let mut session = Session::new(blob, &plan, memory).unwrap();
    let options = EncodeOptions {
        add_special: true,
        parse_special: true,
    };
    let mut scratch = Scratch {
        words: &mut words,
        text: &mut [],
    };
    let prompt = " oven 9 max 8 tank 20 min 14 alarms ?";
    let count = tokenizer.encode(prompt, options, &mut ids, &mut scratch);
    let options = GuideOptions {
        guarantee: true,
        thinking: u32::MAX,
        total: 60,
        start: Part::Outside,
        rules: TagRules::SPELT,
    };
    let mut guide = Guide::new(tokenizer, stops, options).unwrap();
    let mut sampler = Sampler::new(SamplerOptions::default());
    let mut stream = TagStream::new(Part::Outside, TagRules::SPELT);
    let mut logits = session.prefill(&ids[..count.unwrap()]).unwrap();
    while !guide.is_done() {
        guide.constrain(logits);
        let token = sampler.sample(logits, &mut order, &[]).unwrap();
        guide.take(token);
        stream.push(tokenizer.token_bytes(token), |part, bytes| {
            if part == Part::Answer {
                answer[answered..answered + bytes.len()].copy_from_slice(bytes);
                answered += bytes.len();
            }
        });
        logits = session.decode(token).unwrap();
    }
    let after = ALLOCATIONS.load(Ordering::SeqCst);
    assert_eq!(after - before, 0);
    assert_eq!(&answer[..answered], b" oven");
}
