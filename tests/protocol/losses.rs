//! A host at a line that loses and adds bytes: updates and answers come
//! through, and nothing is done twice.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use briquette::device::signed::Update;
use briquette::device::{Client, DeviceError, Line, Patience};
use briquette_protocol::update::{
    MAX_PIECE, Origin, UpdateRefusal, UpdateRequest, UpdateResponse, UpdateStatus,
};
use briquette_protocol::{
    Frames, MAX_FRAME, Refusal, Request, Response, Statistics, StopReason, encode,
};

use crate::line::{hello, prompt};

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToDevice,
    ToHost,
}

/// What a line does to a frame: number so-and-so of its way since the Hello.
type Hurt = dyn FnMut(Way, usize, &mut Vec<u8>) + Send;

/// A device that takes updates in the way of `firmware/updates`, and what it has done.
#[derive(Debug, Default)]
struct Updater {
    received: Vec<u8>,
    is_uploading: bool,
    is_verified: bool,
    begun: usize,
    restarts: usize,
    answers: usize,
}

impl Updater {
    fn update(&mut self, request: UpdateRequest<'_>) -> Result<UpdateResponse, UpdateRefusal> {
        match request {
            UpdateRequest::Status => Ok(UpdateResponse::Status(UpdateStatus {
                version: 1,
                origin: match self.restarts {
                    0 => Origin::Factory,
                    1 => Origin::Trial,
                    _ => Origin::Factory,
                },
                room: 1 << 20,
            })),
            UpdateRequest::Begin { .. } => {
                self.received.clear();
                self.is_uploading = true;
                self.begun += 1;
                Ok(UpdateResponse::Waiting(0))
            }
            UpdateRequest::Piece { .. } if !self.is_uploading => Err(UpdateRefusal::NotBegun),
            UpdateRequest::Piece { offset, bytes } => {
                let expected = self.received.len() as u32;
                if offset != expected {
                    return Err(UpdateRefusal::OutOfOrder { expected });
                }
                self.received.extend_from_slice(bytes);
                Ok(UpdateResponse::Waiting(self.received.len() as u32))
            }
            UpdateRequest::Finish if self.is_uploading || self.is_verified => {
                self.is_uploading = false;
                self.is_verified = true;
                Ok(UpdateResponse::Verified)
            }
            UpdateRequest::Finish => Err(UpdateRefusal::NotBegun),
            UpdateRequest::Restart => {
                self.restarts += 1;
                Ok(UpdateResponse::Restarting)
            }
        }
    }

    fn answer(&mut self, request: Result<Request<'_>, Refusal>) -> Vec<Response<'static>> {
        vec![match request {
            Err(refusal) => Response::Refused(refusal),
            Ok(Request::Hello) => Response::Hello(hello()),
            Ok(Request::Stop) => return Vec::new(),
            Ok(Request::Statistics) => Response::Statistics(Statistics::default()),
            Ok(Request::Update(request)) => match self.update(request) {
                Ok(response) => Response::Update(response),
                Err(refusal) => Response::Refused(Refusal::Update(refusal)),
            },
            Ok(_) => {
                self.answers += 1;
                return vec![Response::Token(7), Response::Done(StopReason::Length)];
            }
        }]
    }

    /// Answers until the host hangs up.
    fn serve(mut self, mut stream: UnixStream, mut hurt: Box<Hurt>) -> Self {
        let mut frames = Frames::new();
        let (mut arriving, mut numbers, mut greeted) = (Vec::new(), [0, 0], false);
        let mut byte = [0];
        while stream.read(&mut byte).is_ok_and(|count| count == 1) {
            arriving.push(byte[0]);
            if byte[0] != 0 || arriving.len() == 1 {
                continue;
            }
            let mut frame = std::mem::take(&mut arriving);
            if greeted {
                hurt(Way::ToDevice, numbers[0], &mut frame);
                numbers[0] += 1;
            }
            for byte in frame {
                let Some(request) = frames.push::<Request<'_>>(byte) else {
                    continue;
                };
                let is_hello = request == Ok(Request::Hello);
                for response in self.answer(request.map_err(Refusal::Frame)) {
                    let mut buffer = [0; MAX_FRAME];
                    let mut frame = encode(&response, &mut buffer).unwrap().to_vec();
                    if greeted {
                        hurt(Way::ToHost, numbers[1], &mut frame);
                        numbers[1] += 1;
                    }
                    let _ = stream.write_all(&frame);
                }
                greeted |= is_hello;
            }
        }
        self
    }
}

fn connect(patience: u64, hurt: Box<Hurt>) -> (Client, JoinHandle<Updater>) {
    let (host, device) = UnixStream::pair().unwrap();
    let device = std::thread::spawn(move || Updater::default().serve(device, hurt));
    let line = Line::from_unix(host, "test".into()).unwrap();
    let patience = Patience {
        hello: Duration::from_secs(5),
        work: Duration::from_secs(patience),
    };
    (Client::connect(line, patience).unwrap(), device)
}

fn update() -> Update {
    Update {
        metadata: [1; 128],
        signature: [2; 64],
        blob: (0..20 * MAX_PIECE + 100).map(|at| at as u8).collect(),
    }
}

/// Sends an update over a line that does `hurt`; how long did it take?
fn upload(hurt: impl FnMut(Way, usize, &mut Vec<u8>) + Send + 'static) -> Duration {
    let (mut client, device) = connect(60, Box::new(hurt));
    let start = Instant::now();
    let update = update();
    assert!(client.upload(&update, &|| false, |_| {}).unwrap());
    let time = start.elapsed();
    drop(client);
    assert_eq!(device.join().unwrap().received, update.blob);
    time
}

#[test]
fn a_piece_whose_end_is_lost_is_sent_again_soon() {
    let time = upload(|way, number, frame| {
        if way == Way::ToDevice && number == 3 {
            assert_eq!(frame.pop(), Some(0));
        }
    });
    assert!(time < Duration::from_secs(4), "{time:?}");
}

#[test]
fn pieces_and_answers_that_are_lost_or_hurt_are_sent_again() {
    for lost in [Way::ToDevice, Way::ToHost] {
        let time = upload(move |way, number, frame| {
            if way == lost && number == 4 {
                frame.clear();
            }
        });
        assert!(time < Duration::from_secs(4), "{lost:?} {time:?}");
        let time = upload(move |way, number, frame| {
            if way == lost && number % 3 == 2 {
                frame.remove(frame.len() / 2);
            }
        });
        assert!(time < Duration::from_secs(12), "{lost:?} {time:?}");
    }
}

/// Five attempts more are made, and no sixth.
#[test]
fn a_piece_is_sent_six_times_at_most() {
    for lost in [5, 1000] {
        let hurt = move |way, number, frame: &mut Vec<u8>| {
            if way == Way::ToDevice && (3..3 + lost).contains(&number) {
                frame.clear();
            }
        };
        let (mut client, device) = connect(3, Box::new(hurt));
        let result = client.upload(&update(), &|| false, |_| {});
        match lost {
            5 => assert!(result.unwrap()),
            _ => assert!(
                matches!(result, Err(DeviceError::Silent { .. })),
                "{result:?}"
            ),
        }
        drop(client);
        device.join().unwrap();
    }
}

/// As ModemManager does: it opens every new port and says `AT`.
fn modem_manager(way: Way, _: usize, frame: &mut Vec<u8>) {
    if way == Way::ToDevice {
        frame.splice(0..0, *b"AT+GCAP\r");
    }
}

#[test]
fn what_another_program_sends_spoils_no_request() {
    let time = upload(modem_manager);
    assert!(time < Duration::from_secs(4), "{time:?}");
    let (mut client, device) = connect(20, Box::new(modem_manager));
    client.statistics().unwrap();
    assert_eq!(answer(&mut client), StopReason::Length);
    client.statistics().unwrap();
    drop(client);
    assert_eq!(device.join().unwrap().answers, 1);
}

fn answer(client: &mut Client) -> StopReason {
    let Request::Prompt(prompt) = prompt("hello", 4) else {
        unreachable!();
    };
    client.answer(&prompt, &|| false, |_, _| {}).unwrap()
}

#[test]
fn a_prompt_that_was_lost_is_sent_again_and_answered_once() {
    let hurts: [fn(&mut Vec<u8>); 3] = [
        // Nothing of it arrives, not its end, or not all of it.
        Vec::clear,
        |frame| frame.truncate(frame.len() - 1),
        |frame| {
            frame.remove(9);
        },
    ];
    for hurt in hurts {
        let (mut client, device) = connect(
            20,
            Box::new(move |way, number, frame| {
                if way == Way::ToDevice && number == 0 {
                    hurt(frame);
                }
            }),
        );
        assert_eq!(answer(&mut client), StopReason::Length);
        drop(client);
        assert_eq!(device.join().unwrap().answers, 1);
    }
}

#[test]
fn a_verdict_that_was_lost_is_asked_for_again() {
    // Begin, 21 pieces, and then the end.
    upload(|way, number, frame| {
        if way == Way::ToHost && number == 22 {
            frame.clear();
        }
    });
}

/// A second start would end the trial of a new model.
#[test]
fn a_device_that_restarts_is_not_restarted_again() {
    for (lost, number) in [(Way::ToHost, 0), (Way::ToDevice, 0), (Way::ToHost, 1)] {
        let (client, device) = connect(
            20,
            Box::new(move |way, which, frame| {
                if way == lost && which == number {
                    frame.clear();
                }
            }),
        );
        drop(client.restart().unwrap());
        assert_eq!(device.join().unwrap().restarts, 1, "{lost:?} {number}");
    }
}
