//! Talks over a sound line and over a damaged one: neither side hangs or fails.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use briquette::device::{Client, Patience};
use briquette_protocol::{MAX_FRAME, Part, Refusal, Request, Response, StopReason, encode};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use crate::line::{ask, exchange, hello, prompt, with_device};
use crate::noise::Noise;

/// Frames that are sent.
const ROUNDS: usize = 100_000;

#[test]
fn a_hundred_thousand_hurt_requests_leave_a_device_as_it_was() {
    with_device(|device, line| {
        let before = ask(device, line, &prompt("The quick brown fox", 12));
        assert!(before.len() > 2, "{before:?}");
        line.0.borrow_mut().source = Some(Noise {
            rng: Xoshiro256PlusPlus::seed_from_u64(11),
            rounds: ROUNDS,
        });
        let (mut responses, mut done, mut refused) = (0, 0, 0);
        exchange(device, line, &[], |response| {
            responses += 1;
            match response.expect("a device speaks in sound frames, whatever it hears") {
                Response::Done(_) => done += 1,
                Response::Refused(_) => refused += 1,
                _ => {}
            }
        });
        line.0.borrow_mut().source = None;
        println!("{ROUNDS} frames: {responses} responses, {done} answers, {refused} refusals");
        // The noise reaches everything: answers, and each way to say no.
        assert!(done > 1000 && refused > 10_000);
        assert_eq!(
            ask(device, line, &prompt("The quick brown fox", 12)),
            before
        );
    });
}

/// A device's side of a talk, damaged on the way: the host ends it in good time,
/// with an answer or an error.
#[test]
fn a_host_never_hangs_on_a_noisy_line() {
    let mut noise = Noise {
        rng: Xoshiro256PlusPlus::seed_from_u64(3),
        rounds: 0,
    };
    let patience = Patience {
        hello: Duration::from_millis(200),
        work: Duration::from_millis(200),
    };
    let (mut connected, mut answered) = (0, 0);
    for _ in 0..120 {
        let mut talk = said_by_a_device();
        if noise.below(3) > 0 {
            for _ in 0..=noise.below(3) {
                noise.hurt(&mut talk);
            }
        }
        let (host, mut device) = UnixStream::pair().unwrap();
        device.write_all(&talk).unwrap();
        let start = Instant::now();
        let line = briquette::device::Line::from_unix(host, "test".into()).unwrap();
        if let Ok(mut client) = Client::connect(line, patience) {
            connected += 1;
            device.write_all(&talk).unwrap();
            let Request::Prompt(prompt) = prompt("hello", 4) else {
                unreachable!();
            };
            let stop = client.answer(&prompt, &|| false, |_, _| {});
            answered += usize::from(matches!(stop, Ok(StopReason::Length)));
        }
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    println!("120 noisy lines: {connected} connections, {answered} answers");
    assert!(connected > 30 && (30..120).contains(&answered));
}

/// A Hello and an answer.
fn said_by_a_device() -> Vec<u8> {
    let text = Response::Text {
        part: Part::Answer,
        bytes: "naïve".as_bytes(),
    };
    let done = Response::Done(StopReason::Length);
    let mut buffer = [0; MAX_FRAME];
    let mut bytes = Vec::new();
    for response in [Response::Hello(hello()), text.clone(), text, done] {
        bytes.extend_from_slice(encode(&response, &mut buffer).unwrap());
    }
    bytes
}

#[test]
fn requests_that_cannot_be_served_are_refused_with_a_reason() {
    with_device(|device, line| {
        let long = "x".repeat(400);
        let many = "word ".repeat(40);
        let unknown = heapless::Vec::from_slice(&[u32::MAX]).unwrap();
        for (request, refusal) in [
            (prompt(&long, 4), Refusal::TooLong),
            (prompt(&many, 4), Refusal::TooLong),
            (prompt("hello", 0), Refusal::Empty),
            (
                Request::Score {
                    ids: heapless::Vec::new(),
                    greedy: 3,
                },
                Refusal::Empty,
            ),
            (
                Request::Score {
                    ids: unknown,
                    greedy: 3,
                },
                Refusal::UnknownToken,
            ),
            (
                Request::Bench {
                    prompt: u32::MAX,
                    tokens: u32::MAX,
                },
                Refusal::TooLong,
            ),
        ] {
            let said = ask(device, line, &request);
            let expected = format!("{:?}", Response::Refused(refusal));
            assert_eq!(said.last(), Some(&expected), "{request:?}");
        }
    });
}

#[test]
fn an_answer_can_be_stopped_and_others_have_to_wait() {
    with_device(|device, line| {
        let mut buffer = [0; MAX_FRAME];
        let mut bytes = Vec::new();
        let bench = Request::Bench {
            prompt: 2,
            tokens: 1_000,
        };
        for request in [bench, Request::Hello, Request::Statistics, Request::Stop] {
            bytes.extend_from_slice(encode(&request, &mut buffer).unwrap());
        }
        // In the same breath: nothing of it may be lost.
        bytes.extend_from_slice(encode(&Request::Statistics, &mut buffer).unwrap());
        let mut said = Vec::new();
        exchange(device, line, &bytes, |response| match response.unwrap() {
            Response::Token(_) => {}
            Response::Hello(hello) => said.push(format!("hello from {}", hello.target)),
            Response::Refused(refusal) => said.push(format!("{refusal:?}")),
            Response::Done(reason) => said.push(format!("{reason:?}")),
            Response::Statistics(statistics) => {
                assert!(statistics.decode.tokens < 30);
                said.push("statistics".into());
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(said, ["hello from host", "Busy", "Stopped", "statistics"]);
    });
}
