//! The same briquette on microcontrollers, in QEMU: the bits of the host.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use briquette::pack::WeightFormat;
use briquette::run::{Arena, StoredFile};
use briquette_engine::cpu::{Plan, PlanOptions, Serial};
use briquette_engine::quant::KvFormat;
use briquette_engine::{Isa, Session};
use briquette_protocol::{Frames, MAX_FRAME, Prompt, Request, Response, StopReason, Work, encode};
use briquette_tests::{Packed, Run, digests, printed, repository, script};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Boards of `firmware/boards` and QEMU's names for them.
const BOARDS: [&str; 2] = ["mps2-an500", "mps3-an547"];

fn build(board: &str, model: &Path) -> PathBuf {
    build_with_slots(board, model, 0)
}

/// With so many experts in memory, or 0 to read all of the model in place.
fn build_with_slots(board: &str, model: &Path, expert_slots: u32) -> PathBuf {
    let mut build = script("firmware/build");
    build
        .env("BRIQUETTE_EXPERT_SLOTS", expert_slots.to_string())
        .args([board.as_ref(), model.as_os_str()]);
    PathBuf::from(printed(&mut build).trim())
}

/// A board in QEMU, at the other end of its serial line.
struct Board {
    qemu: Child,
    line: UnixStream,
    output: Receiver<Vec<u8>>,
    waiting: Vec<u8>,
    log: Receiver<String>,
}

impl Board {
    fn start(board: &str, program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("line");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut qemu = Command::new("qemu-system-arm")
            .args(["-machine", board, "-display", "none", "-monitor", "none"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .arg("-chardev")
            .arg(format!("socket,id=line,path={}", socket.display()))
            .args(["-serial", "chardev:line"])
            .arg("-kernel")
            .arg(program)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("install QEMU with: sudo apt-get install qemu-system-arm");
        let (line, _) = listener.accept().unwrap();
        let log = read_log(qemu.stdout.take().unwrap(), program);
        let (sender, output) = channel();
        let mut bytes = line.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = bytes.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            line,
            qemu,
            output,
            waiting: Vec::new(),
            log,
        }
    }

    /// The next line of its log.
    fn log_line(&mut self) -> String {
        let line = self.log.recv_timeout(Duration::from_secs(60));
        line.expect("the board logs nothing")
    }

    fn send(&mut self, request: &Request<'_>) {
        let mut buffer = [0; MAX_FRAME];
        self.send_bytes(encode(request, &mut buffer).unwrap());
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.line.write_all(bytes).unwrap();
    }

    /// The next response, handed to `look`.
    fn receive<R>(&mut self, look: impl FnOnce(Response<'_>) -> R) -> R {
        let mut frames = Frames::new();
        loop {
            let Some(end) = self.waiting.iter().position(|byte| *byte == 0) else {
                let more = self.output.recv_timeout(Duration::from_secs(60));
                self.waiting.extend(more.expect("the board is silent"));
                continue;
            };
            let frame: Vec<u8> = self.waiting.drain(..=end).collect();
            let (last, bytes) = frame.split_last().unwrap();
            for byte in bytes {
                assert!(frames.push::<Response<'_>>(*byte).is_none());
            }
            if let Some(response) = frames.push::<Response<'_>>(*last) {
                return look(response.expect("the board speaks in sound frames"));
            }
        }
    }

    /// Digests of the logits after each of `ids`, and what follows greedily.
    fn score(&mut self, ids: &[u32], greedy: u32) -> (Vec<u32>, Vec<u32>) {
        let ids = heapless::Vec::from_slice(ids).unwrap();
        self.send(&Request::Score { ids, greedy });
        let (mut digests, mut tokens) = (Vec::new(), Vec::new());
        loop {
            let done = self.receive(|response| match response {
                Response::Digest { position, crc } => {
                    assert_eq!(position as usize, digests.len());
                    digests.push(crc);
                    false
                }
                Response::Token(token) => {
                    tokens.push(token);
                    false
                }
                Response::Done(StopReason::Length) => true,
                other => panic!("{other:?}"),
            });
            if done {
                return (digests, tokens);
            }
        }
    }

    /// Thought and answer to `text`.
    fn ask(&mut self, text: &str) -> (String, String) {
        self.send(&Request::Prompt(Prompt {
            text,
            tokens: 64,
            thinking: None,
            guarantee: true,
            temperature: 0.0,
            seed: 0,
        }));
        let (mut thought, mut answer) = (Vec::new(), Vec::new());
        loop {
            let done = self.receive(|response| match response {
                Response::Text { part, bytes } => {
                    match part {
                        briquette_protocol::Part::Thinking => thought.extend_from_slice(bytes),
                        briquette_protocol::Part::Answer => answer.extend_from_slice(bytes),
                    }
                    false
                }
                Response::Done(StopReason::EndOfText) => true,
                other => panic!("{other:?}"),
            });
            if done {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                return (text(thought), text(answer));
            }
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The lines that a program logs to QEMU's standard output.
fn read_log(frames: ChildStdout, program: &Path) -> Receiver<String> {
    let mut reader = script("firmware/log")
        .arg(program)
        .stdin(frames)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    let (sender, log) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // Whoever does not listen any more has heard enough.
            let _ = sender.send(line);
        }
        let _ = reader.wait();
    });
    log
}

/// One test, so that builds do not wait for each other's folder.
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
            let elf = std::fs::read(&program).unwrap();
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
/// and room for fewer than there are: the host's bits, and just the reads that
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

/// Thousands of hurt requests and random bytes; then it answers as before.
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
