//! New models for boards in QEMU, over their serial line: what is refused leaves
//! the old model answering, what is taken answers with the host's bits, and a
//! reset at any time finds a model.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use briquette::device::signed::{Update, generate, read_secret};
use briquette::device::{Client, DeviceError, Line, Patience, Port};
use briquette::pack::WeightFormat;
use briquette_engine::blob::MAJOR_VERSION;
use briquette_engine::quant::KvFormat;
use briquette_protocol::Refusal;
use briquette_protocol::update::{METADATA_LEN, Metadata, Origin, UpdateRefusal};
use briquette_tests::{Packed, Run, digests, repository, script};
use ed25519_dalek::{Signer, SigningKey};
use tempfile::TempDir;

use crate::program::{MISSING_QEMU, Program};

const BOARDS: [&str; 2] = ["mps2-an500", "mps3-an547"];
/// Version of the model in the program.
const FACTORY: u32 = 3;

/// The program of a board with a model, and the key to updates in it: a path from
/// where the build is called.
fn build(board: &str, model: &Path, key: &Path) -> Program {
    Program::build(
        script("firmware/scripts/build")
            .args([board.as_ref(), model.as_os_str()])
            .current_dir(key.parent().unwrap())
            .env("BRIQUETTE_UPDATE_KEY", key.file_name().unwrap())
            .env("BRIQUETTE_MODEL_VERSION", FACTORY.to_string()),
    )
}

/// A board in QEMU, with a button to reset it.
struct Board {
    qemu: Child,
    monitor: UnixStream,
    line: Port,
    _folder: TempDir,
}

impl Board {
    fn start(board: &str, program: &Program) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = |name: &str| format!("unix:{}", folder.path().join(name).display());
        let server = "server=on,wait=off";
        let qemu = program
            .emulator(board)
            .arg("-serial")
            .arg(format!("{},{server}", socket("line")))
            .arg("-monitor")
            .arg(format!("{},{server}", socket("monitor")))
            .args(["-semihosting-config", "enable=on,target=native"])
            .stdout(Stdio::null())
            .spawn()
            .expect(MISSING_QEMU);
        let start = Instant::now();
        let monitor = loop {
            match UnixStream::connect(folder.path().join("monitor")) {
                Ok(monitor) => break monitor,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Self {
            qemu,
            monitor,
            line: socket("line").parse().unwrap(),
            _folder: folder,
        }
    }

    fn connect(&self) -> Client {
        let patience = Patience {
            hello: Duration::from_secs(60),
            work: Duration::from_secs(60),
        };
        let start = Instant::now();
        loop {
            match Line::open(&self.line, 0) {
                Ok(line) => return Client::connect(line, patience).unwrap(),
                // QEMU makes one socket after the other.
                Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses the button: whatever the board was doing, it restarts.
    fn reset(&mut self) {
        self.monitor.write_all(b"system_reset\n").unwrap();
        // The monitor takes a moment to react.
        std::thread::sleep(Duration::from_millis(500));
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// A model, as a host has it.
struct Model {
    packed: Packed,
    digests: Vec<u32>,
}

const IDS: [u32; 6] = [3, 1, 4, 1, 5, 9];

impl Model {
    fn new(weights: WeightFormat, context: u32) -> Self {
        let source = repository().join("models/sentry");
        let packed = Packed::with_context(&source, weights, KvFormat::Q8, context);
        let logits = packed.logits(&Run::default(), &IDS);
        Self {
            digests: digests(&logits, IDS.len()),
            packed,
        }
    }

    fn signed(&self, key: &SigningKey, target: &str, version: u32) -> Update {
        Update::sign(&self.packed.path(), key, target, version).unwrap()
    }

    /// The device runs this model, and says what this machine says.
    fn answers(&self, client: &mut Client) {
        let bytes = self.packed.file.blob().unwrap().bytes().len() as u64;
        assert_eq!(client.info().memory.flash_bytes, bytes);
        assert_eq!(client.score(&IDS).unwrap(), self.digests);
    }
}

fn send(client: &mut Client, update: &Update) -> Result<bool, DeviceError> {
    client.upload(update, &|| false, |_| {})
}

/// The device refuses `update` for this reason; `old` keeps answering.
fn refuses(client: &mut Client, update: &Update, reason: UpdateRefusal, old: &Model) {
    match send(client, update) {
        Err(DeviceError::Refused(Refusal::Update(found))) => assert_eq!(found, reason),
        other => panic!("{other:?}, not {reason:?}"),
    }
    old.answers(client);
    let status = client.update_status().unwrap();
    assert_eq!((status.version, status.origin), (FACTORY, Origin::Factory));
}

/// Signs other metadata than those of the model.
fn resigned(good: &Update, key: &SigningKey, change: impl FnOnce(&mut Metadata<'_>)) -> Update {
    let mut metadata = good.metadata().unwrap();
    change(&mut metadata);
    let metadata: [u8; METADATA_LEN] = metadata.encode().unwrap();
    Update {
        signature: key.sign(&metadata).to_bytes(),
        metadata,
        blob: good.blob.clone(),
    }
}

#[test]
fn boards_take_what_is_signed_and_always_have_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("device.key");
    let public = folder.path().join("device.pub");
    generate(&secret, &public).unwrap();
    let key = read_secret(&secret).unwrap();
    let old = Model::new(WeightFormat::Q4, 96);
    let new = Model::new(WeightFormat::Q8, 64);
    let third = Model::new(WeightFormat::Q4, 48);
    assert_ne!(old.digests, new.digests);
    for name in BOARDS {
        let program = build(name, &old.packed.path(), &public);
        let mut board = Board::start(name, &program);
        let mut client = board.connect();
        old.answers(&mut client);

        refuse_what_is_wrong(&mut client, name, &key, &old, &new);
        drop(client);
        reset_in_the_middle(&mut board, &new.signed(&key, name, 4), &old);

        // What is right is taken, tried, and kept once it has answered.
        let mut client = board.connect();
        assert!(send(&mut client, &new.signed(&key, name, 4)).unwrap());
        old.answers(&mut client);
        drop(client.restart().unwrap());
        let mut client = board.connect();
        assert_eq!(client.update_status().unwrap().origin, Origin::Trial);
        new.answers(&mut client);
        let status = client.update_status().unwrap();
        assert_eq!((status.version, status.origin), (4, Origin::Update));
        drop(client);
        board.reset();
        new.answers(&mut board.connect());

        // One that does not get to answer is not kept.
        let mut client = board.connect();
        assert!(send(&mut client, &third.signed(&key, "", 5)).unwrap());
        drop(client.restart().unwrap());
        let mut client = board.connect();
        let status = client.update_status().unwrap();
        assert_eq!((status.version, status.origin), (5, Origin::Trial));
        drop(client);
        board.reset();
        let mut client = board.connect();
        let status = client.update_status().unwrap();
        assert_eq!((status.version, status.origin), (4, Origin::Update));
        new.answers(&mut client);
        println!("{name}: updated over its serial line, refused what was wrong, fell back");
    }
}

fn refuse_what_is_wrong(
    client: &mut Client,
    board: &str,
    key: &SigningKey,
    old: &Model,
    new: &Model,
) {
    let good = new.signed(key, board, 4);
    let stranger = SigningKey::from_bytes(&[5; 32]);
    let foreign = new.signed(&stranger, board, 4);
    refuses(client, &foreign, UpdateRefusal::Signature, old);
    let mut flipped = good.clone();
    flipped.metadata[70] ^= 1;
    refuses(client, &flipped, UpdateRefusal::Signature, old);
    let other = new.signed(key, "another-board", 4);
    refuses(client, &other, UpdateRefusal::Target, old);
    let older = UpdateRefusal::Older {
        found: 2,
        newest: FACTORY,
    };
    refuses(client, &new.signed(key, board, 2), older, old);
    let format = UpdateRefusal::Format {
        found: 9,
        known: MAJOR_VERSION,
    };
    let future = resigned(&good, key, |metadata| metadata.format = 9);
    refuses(client, &future, format, old);
    let available = old.packed.file.blob().unwrap().manifest().memory;
    let available = available.scratch_bytes + available.kv_bytes;
    let needed = available + 1;
    let hungry = resigned(&good, key, |metadata| metadata.arena_bytes = needed);
    refuses(
        client,
        &hungry,
        UpdateRefusal::Arena { needed, available },
        old,
    );
    let room = (2 << 20) - 4096;
    let length = room + 1;
    let large = resigned(&good, key, |metadata| metadata.length = length);
    refuses(
        client,
        &large,
        UpdateRefusal::TooLarge { length, room },
        old,
    );

    let mut flipped = good.clone();
    let middle = flipped.blob.len() / 2;
    flipped.blob[middle] ^= 1;
    refuses(client, &flipped, UpdateRefusal::Digest, old);
    let mut short = good.clone();
    short.blob.truncate(1000);
    let incomplete = UpdateRefusal::Incomplete {
        received: 1000,
        length: good.blob.len() as u32,
    };
    refuses(client, &short, incomplete, old);
    let signed_garbage = resigned(
        &Update {
            blob: vec![7; 500],
            ..good.clone()
        },
        key,
        |metadata| {
            use sha2::{Digest, Sha256};
            metadata.length = 500;
            metadata.sha256 = Sha256::digest([7; 500]).into();
        },
    );
    refuses(client, &signed_garbage, UpdateRefusal::Model, old);
}

/// A reset while a model comes in, at a few places.
fn reset_in_the_middle(board: &mut Board, update: &Update, old: &Model) {
    for part in [3, 2] {
        let mut client = board.connect();
        let received = Cell::new(0);
        let enough = || received.get() > update.blob.len() as u64 / part;
        assert!(
            !client
                .upload(update, &enough, |count| received.set(count))
                .unwrap()
        );
        drop(client);
        board.reset();
        let mut client = board.connect();
        old.answers(&mut client);
        assert_eq!(client.update_status().unwrap().origin, Origin::Factory);
    }
}

/// An older device takes whatever it can read.
#[test]
fn an_update_is_of_the_format_of_its_file() {
    let key = SigningKey::from_bytes(&[7; 32]);
    for (kv, format) in [(KvFormat::Q8, 1), (KvFormat::Q4, 2)] {
        let source = repository().join("models/sentry");
        let packed = Packed::with_context(&source, WeightFormat::Q4, kv, 64);
        let update = Update::sign(&packed.path(), &key, "", 1).unwrap();
        let metadata = Metadata::decode(&update.metadata).unwrap();
        assert_eq!(metadata.format, format);
    }
}
