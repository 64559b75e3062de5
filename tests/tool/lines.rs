//! Lines with nobody, with somebody else, with noise, and with a device that goes
//! away.

use std::io::{Read, Write};
use std::time::Duration;

use briquette_protocol::{Frames, MAX_FRAME, Part, Request, Response, Statistics, VERSION, encode};
use serde_json::Value;
use serialport::{SerialPort, TTYPort};

use crate::command::{fail, json, succeed};
use crate::peer::{Disturbed, Puppet, serve};
use crate::place::{Place, QUESTION, expected};

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
    assert!(error.contains("nothing listens"), "{error}");
    // A port that was just free.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = fail(&["device", "info", "--port", &format!("tcp:{free}")]);
    assert!(error.contains("nothing listens"), "{error}");
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
        let input = Disturbed::new(stream.try_clone().unwrap());
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
