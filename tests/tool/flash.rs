//! `briquette flash`: what it refuses, what it calls, and boards in QEMU.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::command::{command, fail, json, message, repository, signal};
use crate::place::{Place, QUESTION, expected};
use crate::stand_ins::{profile, script};

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
        &Path::new(&checkout).join("firmware/scripts/build"),
        &format!("echo build \"$@\" >> {calls}; echo /program"),
    );
    script(&Path::new(&checkout).join("firmware/scripts/log"), "cat");
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
    script(
        &Path::new(&checkout).join("firmware/scripts/build"),
        "exit 1",
    );
    let error = message(&flash(&real, &[]), start);
    assert!(error.contains("building the firmware for mine"), "{error}");
}

#[test]
fn a_key_that_is_not_there_is_no_panic_in_a_build() {
    let place = Place::new();
    let output = std::process::Command::new("bash")
        .arg(repository().join("firmware/scripts/build"))
        .args(["mps2-an500", &place.model()])
        .current_dir(place.path(""))
        .env("BRIQUETTE_UPDATE_KEY", "nowhere.pub")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains("names nowhere.pub, and there is no such file in"),
        "{errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
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
    assert!(fail(&["device", "info", "--port", &port]).contains("nothing listens"));
}
