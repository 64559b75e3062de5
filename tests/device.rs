//! `briquette device` and `briquette flash` as a stranger uses them: with a
//! device, with something that is none, and with a device that goes away.

#![cfg(unix)]

#[path = "cli/chain.rs"]
mod chain;
mod flashing;

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use briquette::run::{Arena, BriqFile};
use briquette_device::{Board, Device, Stack};
use briquette_engine::cpu::{Plan, PlanOptions};
use briquette_protocol::{
    Frames, Hello, MAX_FRAME, Memory, Part, Request, Response, Statistics, StopReason, VERSION,
    encode,
};
use embedded_io::{ErrorType, ReadReady};
use serde_json::Value;
use serialport::{SerialPort, TTYPort};
use tempfile::TempDir;

use chain::{Chain, END};

const QUESTION: &str = "oven 9 max 8 tank 20 min 14 alarms ?";
const THOUGHT: &str = "oven 9 > 8 hi ; tank 20 > 14 ok";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_briquette"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn tool(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn succeed(args: &[&str]) -> String {
    let output = tool(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[args, &["--json"]].concat())).unwrap()
}

/// The message of what must fail with exit code 1, soon.
fn fail(args: &[&str]) -> String {
    let start = Instant::now();
    message(&tool(args), start)
}

fn message(output: &Output, start: Instant) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.lines().any(|line| line.starts_with("error: ")),
        "{errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
    assert!(start.elapsed() < Duration::from_secs(30), "{errors}");
    errors
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder with a model in it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let sentry = repository().join("models/sentry");
        let sentry = sentry.to_str().unwrap();
        let model = place.path("model.briq");
        succeed(&[
            "pack",
            sentry,
            "-o",
            &model,
            "--weights",
            "q4",
            "--context",
            "96",
        ]);
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn model(&self) -> String {
        self.path("model.briq")
    }

    /// Somebody at the other end of a socket; they hear the first who calls.
    fn peer(&self, life: impl FnOnce(UnixStream) + Send + 'static) -> (String, JoinHandle<()>) {
        let path = self.path("line");
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let life = std::thread::spawn(move || life(listener.accept().unwrap().0));
        (format!("unix:{path}"), life)
    }

    /// A device with the model.
    fn device(&self) -> (String, JoinHandle<()>) {
        let model = self.model();
        self.peer(move |stream| {
            let input = stream.try_clone().unwrap();
            serve(&model, input, stream);
        })
    }
}

/// The device's end of a line.
struct Line<W> {
    input: Receiver<u8>,
    waiting: VecDeque<u8>,
    output: W,
}

impl<W: Write> Line<W> {
    fn new(mut input: impl Read + Send + 'static, output: W) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut byte = [0];
            loop {
                match input.read(&mut byte) {
                    Ok(1) if sender.send(byte[0]).is_ok() => {}
                    Err(error) if error.kind() == ErrorKind::TimedOut => {}
                    _ => return,
                }
            }
        });
        Self {
            input: receiver,
            waiting: VecDeque::new(),
            output,
        }
    }
}

impl<W> ErrorType for Line<W> {
    type Error = embedded_io::ErrorKind;
}

impl<W> ReadReady for Line<W> {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        match self.input.try_recv() {
            Ok(byte) => self.waiting.push_back(byte),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(embedded_io::ErrorKind::BrokenPipe),
        }
        Ok(!self.waiting.is_empty())
    }
}

impl<W> embedded_io::Read for Line<W> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let byte = self.waiting.pop_front().or_else(|| self.input.recv().ok());
        let Some(byte) = byte else { return Ok(0) };
        buffer[0] = byte;
        Ok(1)
    }
}

impl<W: Write> embedded_io::Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let written = self.output.write_all(bytes);
        written.map_err(|_| embedded_io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.output
            .flush()
            .map_err(|_| embedded_io::ErrorKind::BrokenPipe)
    }
}

/// What a board does, here.
fn serve(model: &str, input: impl Read + Send + 'static, output: impl Write) {
    let file = BriqFile::open(Path::new(model)).unwrap();
    let blob = file.blob().unwrap();
    let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest())).unwrap();
    let mut arena = Arena::for_plan(&plan).unwrap();
    let board = Board {
        firmware: "test 1.0",
        target: "thread",
        ticks: || {
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            START.get_or_init(Instant::now).elapsed().as_nanos() as u64
        },
        ticks_per_second: 1_000_000_000,
        stack: || Stack { peak: 0, bytes: 0 },
    };
    let line = Line::new(input, output);
    let mut device = Device::new(blob.bytes(), arena.bytes_mut(), line, board).unwrap();
    // It ends when the host hangs up.
    let _ = device.serve();
}

/// A device that says what a test wants it to say.
struct Puppet {
    stream: UnixStream,
    frames: Frames,
}

impl Puppet {
    /// Says a Hello when it is asked.
    fn greet(stream: UnixStream) -> Self {
        let mut puppet = Self {
            stream,
            frames: Frames::new(),
        };
        puppet.await_request(|request| matches!(request, Request::Hello));
        puppet.say(&Response::Hello(hello()));
        puppet
    }

    /// Answers the question about statistics before a prompt, then hears the
    /// prompt.
    fn hear_prompt(stream: UnixStream) -> Self {
        let mut puppet = Self::greet(stream);
        puppet.await_request(|request| matches!(request, Request::Statistics));
        puppet.say(&Response::Statistics(Statistics::default()));
        puppet.await_request(|request| matches!(request, Request::Prompt(_)));
        puppet
    }

    fn await_request(&mut self, wanted: impl Fn(&Request<'_>) -> bool) {
        let mut byte = [0];
        while self.stream.read(&mut byte).unwrap() == 1 {
            if let Some(Ok(request)) = self.frames.push::<Request<'_>>(byte[0])
                && wanted(&request)
            {
                return;
            }
        }
        panic!("the host hung up");
    }

    fn say(&mut self, response: &Response<'_>) {
        let mut buffer = [0; MAX_FRAME];
        let frame = encode(response, &mut buffer).unwrap();
        self.stream.write_all(frame).unwrap();
    }

    fn say_text(&mut self, text: &str) {
        self.say(&Response::Text {
            part: Part::Answer,
            bytes: text.as_bytes(),
        });
    }

    /// Says nothing more, until the host hangs up.
    fn sleep(mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
    }
}

fn hello() -> Hello<'static> {
    Hello {
        protocol: VERSION,
        firmware: "puppet 1.0",
        model: "none",
        digest: [7; 8],
        target: "puppet",
        memory: Memory::default(),
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// What the tool itself says to the question.
fn expected(place: &Place) -> Value {
    let answer = json(&[
        "run",
        &place.model(),
        "-p",
        QUESTION,
        "--guarantee",
        "-n",
        "64",
    ]);
    assert_eq!(answer["thinking"], THOUGHT);
    answer
}

#[test]
fn updates_are_signed_with_a_key_that_is_made_once() {
    let place = Place::new();
    let (key, public, update) = (place.path("k.key"), place.path("k.pub"), place.path("up"));
    succeed(&["device", "keygen", "-o", &key]);
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the secret key is its owner's alone");
    let made = fs::read(&key).unwrap();
    assert!(fail(&["device", "keygen", "-o", &key]).contains("never overwritten"));
    assert_eq!(fs::read(&key).unwrap(), made);

    let model = place.model();
    let target = ["--target", "mps2-an500", "-o", &update];
    let sign = ["device", "sign", &model, "--key"];
    succeed(&[&sign[..], &[&key], &target].concat());
    assert!(fail(&[&sign[..], &[&public], &target].concat()).contains("keygen"));
    // Metadata, signature, briquette.
    let signed = fs::read(&update).unwrap();
    assert_eq!(signed[128 + 64..], fs::read(&model).unwrap());

    // Not signed, and a device that has no place for it.
    let (port, device) = place.device();
    let error = fail(&["device", "update", &model, "--port", &port]);
    assert!(error.contains("--key"), "{error}");
    device.join().unwrap();
    let (port, device) = place.device();
    let error = fail(&["device", "update", &update, "--port", &port]);
    assert!(error.contains("takes no updates"), "{error}");
    device.join().unwrap();
}

#[test]
fn help_has_examples_and_wrong_usage_exit_code_two() {
    for verb in [
        &["device"][..],
        &["device", "chat"],
        &["device", "info"],
        &["device", "bench"],
        &["device", "update"],
        &["device", "keygen"],
        &["device", "sign"],
        &["flash"],
    ] {
        let help = succeed(&[verb, &["--help"]].concat());
        assert!(
            help.contains(&format!("briquette {}", verb.join(" "))),
            "{help}"
        );
    }
    for args in [
        &["device"][..],
        &["device", "info"],
        &["device", "info", "--port", "tcp:nowhere"],
        &["device", "info", "--port", "/dev/x", "--timeout", "-1"],
        &["device", "bench", "--port", "/dev/x", "--repeat", "0"],
        &["flash", "model.briq"],
        &[
            "flash",
            "model.briq",
            "--target",
            "x",
            "--listen",
            "unix:/tmp/x",
            "-p",
            "hi",
        ],
    ] {
        assert_eq!(tool(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_device_tells_who_it_is_and_answers_as_the_tool_does() {
    let place = Place::new();
    let inspected = json(&["inspect", &place.model()]);
    let (port, _) = place.device();
    let info = json(&["device", "info", "--port", &port]);
    assert_eq!(info["model"], inspected["name"]);
    assert_eq!(info["target"], "thread");
    assert_eq!(info["protocol"], VERSION);
    let digest = inspected["source_sha256"].as_str().unwrap();
    assert!(digest.starts_with(info["source_sha256_prefix"].as_str().unwrap()));
    for name in [
        "context",
        "batch",
        "scratch_bytes",
        "kv_bytes",
        "arena_bytes",
    ] {
        assert_eq!(info["memory"][name], inspected["memory"][name], "{name}");
    }
    assert_eq!(info["memory"]["flash_bytes"], inspected["file_bytes"]);
    assert_eq!(
        info["statistics"]["arena_used"],
        inspected["memory"]["arena_bytes"]
    );
    assert_eq!(info["statistics"]["decode"]["tokens"], 0);

    let (port, _) = place.device();
    let page = succeed(&["device", "info", "--port", &port]);
    assert!(
        page.contains("on thread") && page.contains("test 1.0"),
        "{page}"
    );

    let expected = expected(&place);
    let (port, _) = place.device();
    let chat = [
        "device",
        "chat",
        "--port",
        &port,
        "-p",
        QUESTION,
        "--guarantee",
        "-n",
        "64",
    ];
    let answer = json(&chat);
    for name in ["thinking", "text", "stop", "prompt_tokens"] {
        assert_eq!(answer[name], expected[name], "{name}");
    }
    assert!(answer["decode_seconds"].as_f64().unwrap() > 0.0);

    // The answer goes down a pipe, the thought does not.
    let (port, _) = place.device();
    let output = tool(&[
        "device",
        "chat",
        "--port",
        &port,
        "-p",
        QUESTION,
        "--guarantee",
    ]);
    let answer = String::from_utf8(output.stdout).unwrap();
    let aside = String::from_utf8(output.stderr).unwrap();
    assert_eq!(answer.trim(), expected["text"].as_str().unwrap());
    assert!(aside.contains(THOUGHT), "{aside}");
    assert!(aside.contains("tokens decoded at "), "{aside}");
}

/// Tags, control tokens in a prompt, and where an answer ends: by the same rules.
#[test]
fn a_device_tells_tags_and_control_tokens_from_text_as_the_tool_does() {
    let place = Place::new();
    let steps = ["x", "<think>", "a", "</think>", "b", END, "c"];
    let spelling = Chain::new(&["<think>", "</think>"]).follow(&steps);
    let template = "<|begin|>{{ messages[0].content }}";
    let spelling = spelling.template(template);
    let meaning = Chain::new(&[]).special(&["<think>", "</think>"]);
    for chain in [spelling, meaning.follow(&steps)] {
        let source = place.path("source");
        chain.write(Path::new(&source));
        succeed(&["pack", &source, "-o", &place.model(), "--context", "96"]);
        for prompt in ["x", "<|end|><|begin|>x", "<think>x"] {
            let more = ["-p", prompt, "-n", "9", "--json"];
            let run = succeed(&[&["run", &place.model()], &more[..]].concat());
            let (port, _) = place.device();
            let device = succeed(&[&["device", "chat", "--port", &port], &more[..]].concat());
            let [run, device]: [Value; 2] =
                [run, device].map(|text| serde_json::from_str(&text).unwrap());
            for field in ["text", "thinking", "stop", "prompt_tokens"] {
                assert_eq!(run[field], device[field], "{field} of {prompt}");
            }
            assert_eq!(run["stop"], "end_of_text", "{run}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_text_on_a_device() {
    let place = Place::new();
    let options = [
        "--temp", "2.5", "--seed", "5", "-n", "24", "-p", QUESTION, "--json",
    ];
    let run = succeed(&[&["run", &place.model()], &options[..]].concat());
    let (port, _) = place.device();
    let device = succeed(&[&["device", "chat", "--port", &port], &options[..]].concat());
    let [run, device]: [Value; 2] = [run, device].map(|text| serde_json::from_str(&text).unwrap());
    assert_eq!(run["text"], device["text"]);
    assert_eq!(run["thinking"], device["thinking"]);
}

#[test]
fn a_bench_measures_what_a_token_touches() {
    let place = Place::new();
    let inspected = json(&["inspect", &place.model()]);
    let (port, _) = place.device();
    let bench = [
        "device", "bench", "--port", &port, "--prompt", "1", "--gen", "20", "--repeat", "3",
    ];
    let measured = json(&bench);
    let decode = &measured["results"][1];
    assert_eq!(decode["test"], "decode");
    assert_eq!(decode["tokens"], 20);
    assert_eq!(decode["ticks"].as_array().unwrap().len(), 3);
    assert!(decode["tokens_per_second"].as_f64().unwrap() > 1.0);
    // What the file's table says a token reads.
    let touched = inspected["bytes_touched_per_token"]["weights"]
        .as_u64()
        .unwrap();
    assert_eq!(decode["median"]["weight_bytes"], touched * 20);
    let experts = inspected["bytes_touched_per_token"]["experts"]
        .as_u64()
        .unwrap();
    assert_eq!(decode["median"]["expert_bytes"], experts * 20);

    let (port, _) = place.device();
    let table = succeed(&["device", "bench", "--port", &port, "--repeat", "1"]);
    assert!(
        table.contains("| prefill 32 |") && table.contains("| decode 32 |"),
        "{table}"
    );
    let (port, _) = place.device();
    let error = fail(&["device", "bench", "--port", &port, "--gen", "1000"]);
    assert!(
        error.contains("1000") && error.contains("96 tokens"),
        "{error}"
    );
}

#[test]
fn prompts_that_cannot_be_answered_are_explained() {
    let place = Place::new();
    let long = "x".repeat(300);
    let (port, _) = place.device();
    let error = fail(&["device", "chat", "--port", &port, "-p", &long]);
    assert!(error.contains("300") && error.contains("256"), "{error}");
    let (port, _) = place.device();
    let error = fail(&["device", "chat", "--port", &port, "-p", " "]);
    assert!(error.contains("empty"), "{error}");
    let many = "9 ".repeat(120);
    let (port, _) = place.device();
    let error = fail(&["device", "chat", "--port", &port, "-p", &many]);
    assert!(error.contains("too long"), "{error}");
}

#[test]
fn a_chat_goes_on_until_an_empty_line() {
    let place = Place::new();
    let (port, _) = place.device();
    // Standard input has to be a terminal.
    let (mut keyboard, stdin) = TTYPort::pair().unwrap();
    let mut args = vec!["device", "chat", "--guarantee", "--port", &port];
    let terminal = stdin.name().unwrap();
    let terminal = fs::OpenOptions::new().read(true).open(terminal);
    let mut child = command(&std::mem::take(&mut args))
        .stdin(Stdio::from(terminal.unwrap()))
        .spawn()
        .unwrap();
    let long = "x".repeat(300);
    // A prompt that is refused does not end it.
    for line in [QUESTION, &long, "fan 9 max 8 alarms ?", ""] {
        keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    let mut answers = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut answers)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let answers: Vec<&str> = answers.split_whitespace().collect();
    assert_eq!(answers, ["oven", "fan"]);
}

#[test]
fn ctrl_c_stops_an_answer_and_keeps_what_was_said() {
    let place = Place::new();
    let (port, life) = place.peer(|stream| {
        let mut puppet = Puppet::hear_prompt(stream);
        puppet.say_text("as long ");
        puppet.await_request(|request| matches!(request, Request::Stop));
        puppet.say_text("as it takes");
        puppet.say(&Response::Done(StopReason::Stopped));
        puppet.await_request(|request| matches!(request, Request::Statistics));
        puppet.say(&Response::Statistics(Statistics::default()));
        puppet.sleep();
    });
    let mut child = command(&["device", "chat", "--port", &port, "-p", "go on"])
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut said = vec![0; 8];
    stdout.read_exact(&mut said).unwrap();
    signal(&child, "-INT");
    stdout.read_to_end(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&said), "as long as it takes\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("error: interrupted"));
    life.join().unwrap();
}

#[test]
fn a_port_with_nobody_is_explained() {
    let place = Place::new();
    let nowhere = place.path("no-such-port");
    let error = fail(&["device", "info", "--port", &nowhere]);
    assert!(
        error.contains("no such port") && error.contains("plugged in"),
        "{error}"
    );
    let error = fail(&["device", "info", "--port", &format!("unix:{nowhere}")]);
    assert!(error.contains("nobody listens"), "{error}");
    // A port that was just free.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = fail(&["device", "info", "--port", &format!("tcp:{free}")]);
    assert!(error.contains("nobody listens"), "{error}");
    let file = place.model();
    let error = fail(&["device", "info", "--port", &file]);
    assert!(error.contains("model.briq"), "{error}");
}

#[test]
fn a_silent_or_garbled_peer_is_no_device() {
    let place = Place::new();
    let info = |port: &str| fail(&["device", "info", "--timeout", "2", "--port", port]);
    let (port, _) = place.peer(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = info(&port);
    assert!(error.contains("silence for 2 s"), "{error}");
    for noise in [b'x', 0, 0xff, 3] {
        let (port, _) = place.peer(move |mut stream| {
            while stream.write_all(&[noise, 1, noise, 0, noise]).is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let error = info(&port);
        assert!(
            error.contains("no message of a Briquette device"),
            "{error}"
        );
    }
    let (port, _) = place.peer(drop);
    let error = info(&port);
    assert!(error.contains("the device is gone"), "{error}");
}

/// One number for all: it neither ends at the five seconds that a device has
/// otherwise to say who it is, nor begins to count only then.
#[test]
fn the_timeout_counts_for_a_device_that_is_slow_to_start() {
    let place = Place::new();
    let (port, _) = place.peer(|stream| {
        std::thread::sleep(Duration::from_secs(7));
        let mut puppet = Puppet::greet(stream);
        puppet.await_request(|request| matches!(request, Request::Statistics));
        puppet.say(&Response::Statistics(Statistics::default()));
        puppet.sleep();
    });
    let info = json(&["device", "info", "--timeout", "60", "--port", &port]);
    assert_eq!(info["target"], "puppet");
    let (port, _) = place.peer(|stream| {
        let mut puppet = Puppet::greet(stream);
        puppet.await_request(|request| matches!(request, Request::Statistics));
        puppet.sleep();
    });
    let error = fail(&["device", "info", "--timeout", "1", "--port", &port]);
    assert!(error.contains("silence for 1 s"), "{error}");
}

/// What ModemManager says to a new port arrives between a host's requests.
#[test]
fn another_program_on_the_line_spoils_no_answer() {
    let place = Place::new();
    let expected = expected(&place);
    let model = place.model();
    let (port, _) = place.peer(move |stream| {
        let input = Disturbed {
            stream: stream.try_clone().unwrap(),
            zeros: 0,
            waiting: VecDeque::new(),
        };
        serve(&model, input, stream);
    });
    let answer = json(&[
        "device",
        "chat",
        "--port",
        &port,
        "-p",
        QUESTION,
        "--guarantee",
        "-n",
        "64",
    ]);
    for name in ["thinking", "text", "stop", "prompt_tokens"] {
        assert_eq!(answer[name], expected[name], "{name}");
    }
}

/// A line on which somebody says `AT` between frames.
struct Disturbed {
    stream: UnixStream,
    zeros: usize,
    waiting: VecDeque<u8>,
}

impl Read for Disturbed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(byte) = self.waiting.pop_front() {
            buffer[0] = byte;
            return Ok(1);
        }
        let count = self.stream.read(&mut buffer[..1])?;
        if buffer[0] == 0 {
            self.zeros += 1;
            // A frame ends with every second one.
            if self.zeros.is_multiple_of(2) {
                self.waiting.extend(*b"AT\r");
            }
        }
        Ok(count)
    }
}

#[test]
fn another_version_is_named() {
    let place = Place::new();
    for (version, advice) in [
        (VERSION + 1, "newer briquette"),
        (0, "flash the device again"),
    ] {
        let (port, _) = place.peer(move |stream| {
            let mut frames = Frames::new();
            let mut stream = stream;
            let mut byte = [0];
            while stream.read(&mut byte).unwrap() == 1 {
                if let Some(Ok(Request::Hello)) = frames.push::<Request<'_>>(byte[0]) {
                    break;
                }
            }
            // Another version may say anything after its number.
            let mut buffer = [0; MAX_FRAME];
            let frame = encode(&(0_u8, version, "in our new form", 3.5_f32), &mut buffer);
            stream.write_all(frame.unwrap()).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let error = fail(&["device", "info", "--port", &port]);
        assert!(
            error.contains(&format!("version {version} of the protocol")),
            "{error}"
        );
        assert!(error.contains(advice), "{error}");
    }
}

#[test]
fn a_device_that_goes_away_half_way_is_noticed() {
    let place = Place::new();
    let chat = |port: &str| {
        fail(&[
            "device",
            "chat",
            "--timeout",
            "2",
            "-p",
            "hi",
            "--port",
            port,
        ])
    };
    // Unplugged.
    let (port, _) = place.peer(|stream| Puppet::hear_prompt(stream).say_text("half of"));
    assert!(chat(&port).contains("the device is gone"));
    // Hung.
    let (port, _) = place.peer(|stream| {
        let mut puppet = Puppet::hear_prompt(stream);
        puppet.say_text("half of");
        puppet.sleep();
    });
    assert!(chat(&port).contains("silence for 2 s"));
    // A byte is lost.
    let (port, _) = place.peer(|stream| {
        let mut puppet = Puppet::hear_prompt(stream);
        let mut buffer = [0; MAX_FRAME];
        let text = Response::Text {
            part: Part::Answer,
            bytes: b"all of it",
        };
        let frame = encode(&text, &mut buffer).unwrap();
        puppet.stream.write_all(&frame[..4]).unwrap();
        puppet.stream.write_all(&frame[5..]).unwrap();
        puppet.sleep();
    });
    assert!(chat(&port).contains("the line loses bytes"));
}

#[test]
fn a_serial_port_works_and_has_one_user() {
    let place = Place::new();
    let expected = expected(&place);
    // Without `tty` the port would be as if it were unplugged.
    let (board, tty) = TTYPort::pair().unwrap();
    let port = tty.name().unwrap();
    let _life = {
        let model = place.model();
        let mut input = board.try_clone_native().unwrap();
        input.set_timeout(Duration::from_millis(100)).unwrap();
        std::thread::spawn(move || serve(&model, input, board))
    };
    let chat = [
        "device",
        "chat",
        "--port",
        &port,
        "-p",
        QUESTION,
        "--guarantee",
        "--json",
    ];
    let other = serialport::new(&port, 115_200).open().unwrap();
    let error = fail(&chat);
    assert!(error.contains("the port is busy"), "{error}");
    drop(other);
    // One after the other: what one has left behind does not disturb the next.
    for _ in 0..2 {
        let answer: Value = serde_json::from_str(&succeed(&chat)).unwrap();
        assert_eq!(answer["text"], expected["text"]);
        assert_eq!(answer["thinking"], expected["thinking"]);
    }
}

/// Writes an executable script.
fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A profile of one's own.
fn profile(place: &Place, name: &str, firmware: &str) -> String {
    let path = place.path(name);
    let text = format!(
        "description = \"my board\"\nram_bytes = 300000\nreserved_ram_bytes = 0\n\
         flash_bytes = 300000\nreserved_flash_bytes = 0\n{firmware}"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn what_cannot_be_flashed_is_refused_with_a_reason() {
    let place = Place::new();
    let model = place.model();
    let flash = |target: &str| fail(&["flash", &model, "--target", target, "-p", "hi"]);
    assert!(flash("arduino").contains("known: mps2-an500"));
    assert!(flash("raspberry-pi-zero-2").contains("briquette run"));
    let error = fail(&["flash", "nowhere.briq", "--target", "mps2-an500"]);
    assert!(error.contains("nowhere.briq"), "{error}");
    // Too small by the numbers, before anything is built.
    let small = place.path("small.toml");
    let text = fs::read_to_string(repository().join("models/targets/mps2-an500.toml")).unwrap();
    let text = text.replace("ram_bytes = 4194304", "ram_bytes = 300000");
    fs::write(&small, text).unwrap();
    let error = flash(&small);
    let arena = json(&["inspect", &model])["memory"]["arena_bytes"].as_f64();
    let arena = format!(
        "arena {:.2} KiB of 36.97 KiB free RAM",
        arena.unwrap() / 1024.0
    );
    assert!(
        error.contains("does not fit") && error.contains(&arena),
        "{error}"
    );
    // Without the sources.
    let elsewhere = place.path("");
    let error = fail(&[
        "flash",
        &model,
        "--target",
        "mps2-an500",
        "--repository",
        &elsewhere,
    ]);
    assert!(
        error.contains("--repository") && error.contains("checkout"),
        "{error}"
    );
}

#[test]
fn programs_are_built_and_flashed_by_what_the_profile_names() {
    let place = Place::new();
    let model = place.model();
    let checkout = place.path("checkout");
    let calls = place.path("calls");
    script(
        &Path::new(&checkout).join("firmware/build"),
        &format!("echo build \"$@\" >> {calls}; echo /program"),
    );
    script(&Path::new(&checkout).join("firmware/log"), "cat");
    let real = "[firmware]\nboard = \"mine\"\nrust_target = \"thumbv7m-none-eabi\"\n\
                runner = { probe-rs = \"MYCHIP\" }\n";
    let real = profile(&place, "my-board.toml", real);
    let qemu = "[firmware]\nboard = \"mine\"\nrust_target = \"thumbv7m-none-eabi\"\n\
                runner = { qemu = \"mymachine\" }\n";
    let qemu = profile(&place, "my-machine.toml", qemu);
    let tools = place.path("tools");
    fs::create_dir(&tools).unwrap();
    for name in ["bash", "sh", "cat"] {
        std::os::unix::fs::symlink(format!("/bin/{name}"), format!("{tools}/{name}")).unwrap();
    }
    let flash = |target: &str, more: &[&str]| {
        let args = [
            "flash",
            &model,
            "--target",
            target,
            "--repository",
            &checkout,
        ];
        command(&[&args, more].concat())
            .env("PATH", &tools)
            .output()
            .unwrap()
    };
    let start = Instant::now();
    let error = message(&flash(&real, &[]), start);
    assert!(error.contains("cargo install probe-rs-tools"), "{error}");
    let error = message(&flash(&qemu, &["-p", "hi"]), start);
    assert!(error.contains("apt-get install qemu-system-arm"), "{error}");

    script(
        &Path::new(&tools).join("probe-rs"),
        &format!("echo probe-rs \"$@\" >> {calls}"),
    );
    let output = flash(&real, &[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(errors.contains("briquette device chat --port"), "{errors}");
    let said = fs::read_to_string(&calls).unwrap();
    let build = format!("build mine {model} thumbv7m-none-eabi");
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    assert_eq!(
        last,
        [
            "probe-rs reset --chip MYCHIP",
            "probe-rs download --verify --chip MYCHIP /program",
            build.as_str()
        ]
    );
    // A flashed board is talked with over its port.
    let (port, _) = place.device();
    let output = flash(&real, &["--port", &port, "-p", QUESTION, "--guarantee"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "oven");

    script(
        &Path::new(&tools).join("probe-rs"),
        "echo no probe found >&2; exit 3",
    );
    let error = message(&flash(&real, &[]), start);
    assert!(
        error.contains("no probe found") && error.contains("flashing"),
        "{error}"
    );
    // What went wrong on a board is always shown, the rest only if wanted.
    script(
        &Path::new(&tools).join("qemu-system-arm"),
        "echo 'info  hello'; echo 'error it is broken'; exit 3",
    );
    let error = message(&flash(&qemu, &["-p", "hi"]), start);
    assert!(
        error.contains("QEMU ended") && error.contains("it is broken"),
        "{error}"
    );
    assert!(!error.contains("hello"), "{error}");
    let error = message(&flash(&qemu, &["-p", "hi", "--logs"]), start);
    assert!(
        error.contains("hello") && error.contains("it is broken"),
        "{error}"
    );
    script(&Path::new(&checkout).join("firmware/build"), "exit 1");
    let error = message(&flash(&real, &[]), start);
    assert!(error.contains("building the firmware for mine"), "{error}");
}

/// Waits for a socket to appear.
fn await_socket(path: &str) {
    let start = Instant::now();
    while !Path::new(path).exists() {
        assert!(
            start.elapsed() < Duration::from_secs(600),
            "{path} does not appear"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One test, so that builds of a board do not get in each other's way.
#[test]
fn boards_in_qemu_are_flashed_and_talked_with() {
    let place = Place::new();
    let model = place.model();
    let expected = expected(&place);
    let options = ["-p", QUESTION, "--guarantee", "-n", "64"];
    for board in ["mps2-an500", "mps3-an547"] {
        let answer = json(&[&["flash", &model, "--target", board], &options[..]].concat());
        for name in ["thinking", "text", "stop", "prompt_tokens"] {
            assert_eq!(answer[name], expected[name], "{name} on {board}");
        }
        assert!(answer["decode_ticks"].as_u64().unwrap() > 0);
    }
    // A board that waits, and several hosts one after the other.
    let socket = place.path("board");
    let port = format!("unix:{socket}");
    let flash = ["flash", &model, "--target", "mps2-an500", "--listen", &port];
    let child = command(&flash).spawn().unwrap();
    await_socket(&socket);
    let info = json(&["device", "info", "--port", &port]);
    assert_eq!(info["target"], "mps2-an500");
    let inspected = json(&["inspect", &model]);
    assert_eq!(
        info["memory"]["arena_bytes"],
        inspected["memory"]["arena_bytes"]
    );
    assert_eq!(
        info["statistics"]["arena_used"],
        inspected["memory"]["arena_bytes"]
    );
    let chat = json(&[&["device", "chat", "--port", &port], &options[..]].concat());
    assert_eq!(chat["text"], expected["text"]);
    let bench = json(&[
        "device", "bench", "--port", &port, "--gen", "8", "--repeat", "1",
    ]);
    let touched = inspected["bytes_touched_per_token"]["weights"]
        .as_u64()
        .unwrap();
    assert_eq!(bench["results"][1]["median"]["weight_bytes"], touched * 8);
    signal(&child, "-INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    // The board has ended with it.
    assert!(fail(&["device", "info", "--port", &port]).contains("nobody listens"));
}
