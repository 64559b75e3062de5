//! The same briquette on microcontrollers, in QEMU: the bits of the host.

use std::path::Path;

use briquette::pack::WeightFormat;
use briquette::run::{Arena, StoredFile};
use briquette_engine::cpu::Serial;
use briquette_engine::quant::KvFormat;
use briquette_engine::{Isa, Plan, PlanOptions, Session};
use briquette_protocol::{MAX_FRAME, Prompt, Request, Response, StopReason, Work, encode};
use briquette_tests::{Packed, Run, digests, repository, script};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::board::Board;
use crate::program::Program;

/// Boards of `firmware/boards` and QEMU's names for them.
const BOARDS: [&str; 2] = ["mps2-an500", "mps3-an547"];

fn build(board: &str, model: &Path) -> Program {
    build_with_slots(board, model, 0)
}

/// With this many experts in memory, or 0 to read all of the model in place.
fn build_with_slots(board: &str, model: &Path, expert_slots: u32) -> Program {
    Program::build(
        script("firmware/scripts/build")
            .env("BRIQUETTE_EXPERT_SLOTS", expert_slots.to_string())
            .args([board.as_ref(), model.as_os_str()]),
    )
}

#[test]
fn microcontrollers_say_bit_for_bit_what_the_host_says() {
    let cases = [
        ("tests/golden/tiny-v2", WeightFormat::Q4),
        ("tests/golden/tiny-v3", WeightFormat::Q8),
        ("models/sentry", WeightFormat::Q4),
    ];
    for (name, weights) in cases {
        let source = repository().join(name);
        let packed = Packed::with_context(&source, weights, KvFormat::Q8, 128);
        for board in BOARDS {
            let program = build(board, &packed.path());
            let elf = std::fs::read(&program.elf).unwrap();
            let allocator = b"__rust_alloc";
            assert!(
                !elf.windows(allocator.len())
                    .any(|window| window == allocator)
            );
            let mut device = Board::start(board, &program);
            check_boot_log(&mut device, board, &packed);
            check_hello(&mut device, &packed);
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
            for _ in 0..2 {
                let ids: Vec<u32> = (0..24).map(|_| rng.next_u32() % 120).collect();
                let logits = packed.logits(&Run::default(), &ids);
                let (found, tokens) = device.score(&ids, 32);
                assert_eq!(found, digests(&logits, ids.len()), "{name} on {board}");
                assert_eq!(
                    tokens,
                    packed.greedy(&Run::default(), &ids, 32),
                    "{name} on {board}"
                );
            }
            check_statistics(&mut device, &packed);
            println!("{name} {weights:?} on {board}: 48 positions, the host's bits");
            if name == "models/sentry" {
                let (thought, answer) = device.ask("oven 9 max 8 tank 20 min 14 alarms ?");
                assert_eq!(thought, " oven 9 > 8 hi ; tank 20 > 14 ok");
                assert_eq!(answer, " oven");
                survive_garbage(&mut device);
            }
            check_stack(&mut device, &format!("{name} on {board}"));
        }
    }
    experts_come_from_serial_flash();
}

/// Serial flash on a board that has to read each expert before it can use it,
/// and room for fewer than there are: the host's bits, and exactly the reads that
/// the host makes with as much room.
fn experts_come_from_serial_flash() {
    let board = BOARDS[0];
    for (name, weights, slots) in [
        ("tests/golden/tiny-v3", WeightFormat::Q8, 1),
        ("tests/golden/tiny-v3", WeightFormat::Q8, 12),
        ("models/sentry", WeightFormat::Q4, 6),
    ] {
        let source = repository().join(name);
        let packed = Packed::with_context(&source, weights, KvFormat::Q8, 128);
        let what = format!("{name} {weights:?} on {board}, {slots} experts in memory");
        let program = build_with_slots(board, &packed.path(), slots);
        let mut device = Board::start(board, &program);
        let ids: Vec<u32> = (0..24).map(|i| i * 37 % 120).collect();
        let logits = packed.logits(&Run::default(), &ids);
        let (found, tokens) = device.score(&ids, 32);
        assert_eq!(found, digests(&logits, ids.len()), "{what}");
        assert_eq!(tokens, packed.greedy(&Run::default(), &ids, 32), "{what}");

        let mut stored = StoredFile::open(&packed.path()).unwrap();
        let (blob, storage) = stored.parts().unwrap();
        let (resident, count) = (blob.loaded_bytes(), blob.manifest().expert_sizes().count);
        assert!(u64::from(slots) < count);
        let options = PlanOptions {
            expert_slots: slots,
            ..PlanOptions::packed(blob.manifest())
        };
        let plan = Plan::new(blob.manifest(), options).unwrap();
        let mut arena = Arena::for_plan(&plan).unwrap();
        let (memory, isa) = (arena.bytes_mut(), Isa::detect());
        let session = Session::with_storage(blob, storage, &plan, memory, Serial, isa);
        let mut session = session.unwrap();
        // What follows the last token is not computed.
        for id in ids.iter().chain(&tokens[..31]) {
            session.decode(*id).unwrap();
        }
        let expected = session.traffic().storage;
        assert!(expected.misses > 0 && expected.bytes > 0);

        device.send(&Request::Hello);
        device.receive(|response| {
            let Response::Hello(hello) = response else {
                panic!("{response:?}");
            };
            assert_eq!(hello.memory.loaded_bytes, resident);
            assert_eq!(hello.memory.expert_slots, slots);
            assert_eq!(hello.memory.arena_bytes, plan.arena_bytes());
        });
        device.send(&Request::Statistics);
        device.receive(|response| {
            let Response::Statistics(statistics) = response else {
                panic!("{response:?}");
            };
            assert_eq!(statistics.arena_used, plan.arena_bytes());
            let work = [statistics.prefill, statistics.decode];
            let sum = |of: fn(&Work) -> u64| work.iter().map(of).sum::<u64>();
            let (hits, misses) = (sum(|w| w.expert_hits), sum(|w| w.expert_misses));
            let bytes = sum(|w| w.storage_bytes);
            println!(
                "{what} of {count}: the host's bits; {:.1} % hits, {bytes} bytes read for {} tokens",
                100.0 * hits as f64 / (hits + misses) as f64,
                sum(|w| w.tokens),
            );
            assert_eq!(
                (hits, misses, bytes),
                (expected.hits, expected.misses, expected.bytes)
            );
        });
    }
}

/// What the board has handed out is what was planned, and its clock runs.
fn check_statistics(device: &mut Board, packed: &Packed) {
    device.send(&Request::Statistics);
    let memory = packed.file.blob().unwrap().manifest().memory;
    device.receive(|response| {
        let Response::Statistics(statistics) = response else {
            panic!("{response:?}");
        };
        assert_eq!(
            statistics.arena_used,
            memory.scratch_bytes + memory.kv_bytes
        );
        // Two scores of 24 tokens, each followed by 32.
        assert_eq!(statistics.prefill.tokens, 2 * 24);
        assert_eq!(statistics.decode.tokens, 2 * 31);
        for work in [statistics.prefill, statistics.decode] {
            assert!(work.ticks > 0 && work.weight_bytes > 0 && work.kv_bytes > 0);
            assert!(work.expert_bytes > 0 && work.expert_bytes < work.weight_bytes);
        }
        assert!(statistics.ticks_per_second > 1_000_000);
    });
}

/// What it says about itself when it starts.
fn check_boot_log(device: &mut Board, board: &str, packed: &Packed) {
    let line = device.log_line();
    println!("{line}");
    let blob = packed.file.blob().unwrap();
    let manifest = blob.manifest();
    let memory = &manifest.memory;
    let start = format!(
        "info  {board} {} serves {}: context {}, arena {} bytes, stack ",
        env!("CARGO_PKG_VERSION"),
        manifest.provenance.name,
        memory.context,
        memory.scratch_bytes + memory.kv_bytes,
    );
    assert!(line.starts_with(&start), "{line}, not {start}");
}

fn check_hello(device: &mut Board, packed: &Packed) {
    device.send(&Request::Hello);
    let blob = packed.file.blob().unwrap();
    let manifest = blob.manifest();
    let planned = manifest.memory.scratch_bytes + manifest.memory.kv_bytes;
    device.receive(|response| {
        let Response::Hello(hello) = response else {
            panic!("{response:?}");
        };
        assert_eq!(hello.protocol, briquette_protocol::VERSION);
        assert_eq!(hello.memory.context, manifest.memory.context);
        assert_eq!(hello.memory.batch, manifest.memory.batch);
        assert_eq!(hello.memory.scratch_bytes, manifest.memory.scratch_bytes);
        assert_eq!(hello.memory.kv_bytes, manifest.memory.kv_bytes);
        assert_eq!(hello.memory.arena_bytes, planned);
        assert_eq!(hello.memory.flash_bytes, blob.bytes().len() as u64);
        assert_eq!(hello.digest, manifest.provenance.source_sha256[..8]);
    });
}

/// The painted stack was touched, but not to its end.
fn check_stack(device: &mut Board, what: &str) {
    device.send(&Request::Statistics);
    device.receive(|response| {
        let Response::Statistics(statistics) = response else {
            panic!("{response:?}");
        };
        let (peak, reserved) = (statistics.stack_peak, statistics.stack_bytes);
        println!("{what}: stack peak {peak} of {reserved} bytes");
        assert!(0 < peak && peak < reserved, "{what}: {peak} of {reserved}");
    });
}

/// Thousands of damaged requests and random bytes; then it answers as before.
fn survive_garbage(device: &mut Board) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(9);
    let mut buffer = [0; MAX_FRAME];
    let prompt = Request::Prompt(Prompt {
        text: "fan 9 max 8 alarms ?",
        tokens: 8,
        thinking: None,
        guarantee: false,
        temperature: 0.0,
        seed: 0,
    });
    let requests = [Request::Statistics, Request::Stop, Request::Hello, prompt];
    let frames = requests.map(|request| encode(&request, &mut buffer).unwrap().to_vec());
    for round in 0..4000_usize {
        let mut bytes = frames[rng.next_u32() as usize % frames.len()].clone();
        let at = rng.next_u32() as usize % bytes.len();
        match round % 4 {
            0 => bytes[at] ^= 1 << (rng.next_u32() % 8),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, rng.next_u32() as u8),
            _ => bytes = (0..40).map(|_| rng.next_u32() as u8).collect(),
        }
        device.send_bytes(&bytes);
        if round % 50 == 49 {
            // Nobody listens all the time, but the line must not fill up.
            drain(device);
        }
    }
    device.send_bytes(&[0]);
    drain(device);
    let refusals = device
        .log
        .try_iter()
        .filter(|line| line.starts_with("warn  refused: "));
    assert!(refusals.count() > 100, "what was refused is logged");
    assert_eq!(device.ask("fan 9 max 8 alarms ?").1, " fan");
}

/// Passes over everything up to the answer to a question that the noise does
/// not ask.
fn drain(device: &mut Board) {
    device.send_bytes(&[0]);
    device.send(&Request::Stop);
    let ids = heapless::Vec::from_slice(&[1]).unwrap();
    device.send(&Request::Score { ids, greedy: 0 });
    while !device.receive(|response| matches!(response, Response::Digest { .. })) {}
    device.receive(|response| assert_eq!(response, Response::Done(StopReason::Length)));
}
