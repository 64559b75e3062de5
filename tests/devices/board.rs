//! A board in QEMU, seen from the other end of its serial line.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use briquette_protocol::{Frames, MAX_FRAME, Part, Prompt, Request, Response, StopReason, encode};

use crate::program::{MISSING_QEMU, Program};

/// A board in QEMU, at the other end of its serial line.
pub struct Board {
    qemu: Child,
    line: UnixStream,
    output: Receiver<Vec<u8>>,
    waiting: Vec<u8>,
    /// The lines that it logs.
    pub log: Receiver<String>,
}

impl Board {
    /// Starts `program` on QEMU's machine `board`.
    pub fn start(board: &str, program: &Program) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("line");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut qemu = program
            .emulator(board)
            .args(["-monitor", "none"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .arg("-chardev")
            .arg(format!("socket,id=line,path={}", socket.display()))
            .args(["-serial", "chardev:line"])
            .stdout(Stdio::piped())
            .spawn()
            .expect(MISSING_QEMU);
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
    pub fn log_line(&mut self) -> String {
        let line = self.log.recv_timeout(Duration::from_secs(60));
        line.expect("the board logs nothing")
    }

    /// Sends a request.
    pub fn send(&mut self, request: &Request<'_>) {
        let mut buffer = [0; MAX_FRAME];
        self.send_bytes(encode(request, &mut buffer).unwrap());
    }

    /// Sends any bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.line.write_all(bytes).unwrap();
    }

    /// The next response, handed to `look`.
    pub fn receive<R>(&mut self, look: impl FnOnce(Response<'_>) -> R) -> R {
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
    pub fn score(&mut self, ids: &[u32], greedy: u32) -> (Vec<u32>, Vec<u32>) {
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
    pub fn ask(&mut self, text: &str) -> (String, String) {
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
                        Part::Thinking => thought.extend_from_slice(bytes),
                        Part::Answer => answer.extend_from_slice(bytes),
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
fn read_log(frames: ChildStdout, program: &Program) -> Receiver<String> {
    let mut reader = program
        .log_reader()
        .stdin(frames)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    let (sender, log) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // A test that no longer listens has heard enough.
            let _ = sender.send(line);
        }
        let _ = reader.wait();
    });
    log
}
