//! `briquette device` with a device: it answers as the tool does.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use briquette_protocol::{Request, Response, Statistics, StopReason, VERSION};
use serde_json::Value;
use serialport::{SerialPort, TTYPort};

use crate::chain::{Chain, END};
use crate::command::{command, fail, json, signal, succeed, tool};
use crate::peer::Puppet;
use crate::place::{Place, QUESTION, THOUGHT, expected};

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

/// A model may have several ends of text; one of them may be known to
/// `generation_config.json` alone.
#[test]
fn a_device_stops_at_every_end_of_text() {
    let place = Place::new();
    let other = "<|other|>";
    let chain = Chain::new(&[]).special(&[other]);
    let chain = chain.follow(&["x", "a", other, "b"]);
    let chain = chain.follow(&["y", "c", END, "d"]);
    let source = place.path("source");
    chain.write(Path::new(&source));
    let ends = serde_json::json!({"eos_token_id": [chain.id(END), chain.id(other)]});
    let path = Path::new(&source).join("generation_config.json");
    fs::write(path, ends.to_string()).unwrap();
    succeed(&["pack", &source, "-o", &place.model(), "--context", "96"]);
    for (prompt, answer) in [("x", "a"), ("y", "c")] {
        let (port, _) = place.device();
        let said = json(&["device", "chat", "--port", &port, "-p", prompt, "-n", "9"]);
        assert_eq!(said["text"], answer, "{said}");
        assert_eq!(said["stop"], "end_of_text", "{said}");
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
