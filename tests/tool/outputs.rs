//! What the tool writes appears whole or not at all, and destroys nothing.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::chain::{Chain, END};
use crate::command::{fail, golden, in_repository, json, succeed, tool};
use crate::place::{Workplace, copy_of};

#[test]
fn a_source_is_never_overwritten() {
    let (_folder, source) = copy_of("tiny-llama");
    let place = Workplace::new();
    let gguf = place.path("model.gguf");
    fs::copy(golden("gguf/v2-group.legacy.f32.gguf"), &gguf).unwrap();
    let folder = source.to_str().unwrap().to_owned();
    let weights = source
        .join("model.safetensors")
        .to_str()
        .unwrap()
        .to_owned();
    let link = place.path("link");
    std::os::unix::fs::symlink(&weights, &link).unwrap();
    for (from, to) in [(&gguf, &gguf), (&folder, &weights), (&folder, &link)] {
        let before = fs::read(to).unwrap();
        let error = fail(&["pack", from, "-o", to]);
        assert!(error.contains("would be overwritten"), "{error}");
        assert_eq!(fs::read(to).unwrap(), before);
    }
    let (model, ids) = (place.path("model.briq"), place.path("ids.json"));
    fs::write(&ids, "[1]").unwrap();
    for out in [&model, &ids] {
        let error = fail(&["logits", &model, "--ids", &ids, "--out", out]);
        assert!(error.contains("would be overwritten"), "{error}");
    }
    // Beside its source a briquette may lie, and be made again.
    let beside = source.join("model.briq").to_str().unwrap().to_owned();
    succeed(&["pack", &folder, "-o", &beside]);
    succeed(&["pack", &folder, "-o", &beside]);
}

#[test]
fn devices_pipes_and_folders_are_not_replaced() {
    let place = Workplace::new();
    let fifo = place.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let source = golden("tiny-llama");
    let folder = place.path("");
    for (out, what) in [
        (fifo.as_str(), "no ordinary file"),
        ("/dev/full", "no ordinary file"),
        (&folder, "is a folder"),
        ("-", "no place"),
        (&place.path("nowhere/x.briq"), "no folder"),
    ] {
        let error = fail(&["pack", &source, "-o", out]);
        assert!(error.contains(what), "{out}: {error}");
        let ids = place.path("ids.json");
        fs::write(&ids, "[1]").unwrap();
        let logits = [
            "logits",
            &place.path("model.briq"),
            "--ids",
            &ids,
            "--out",
            out,
        ];
        assert!(fail(&logits).contains(what), "{out}");
    }
    assert!(!fs::metadata(&fifo).unwrap().is_file());
    // A link is followed, and stays one.
    let (target, link) = (place.path("target.briq"), place.path("link.briq"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    succeed(&["pack", &source, "-o", &link]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    json(&["verify", &target]);
}

/// Results of training are several files: a file's name is no folder for them.
#[test]
fn a_file_is_no_folder_for_results() {
    let place = Workplace::new();
    let file = place.path("model.briq");
    let recipe = in_repository("models/sentry/recipe.toml");
    let error = fail(&["train", "sft", "--recipe", &recipe, "--out", &file]);
    assert!(error.contains("model.briq is a file; --out"), "{error}");
}

/// What the system says is told with the output's name, once.
#[test]
fn an_output_that_cannot_be_written_is_named_once() {
    let (source, out) = (golden("tiny-llama"), "/proc/model.briq");
    let error = fail(&["pack", &source, "-o", out]);
    assert_eq!(error.matches("/proc").count(), 1, "{error}");
}

/// A chain that never ends.
fn endless(place: &Workplace) -> String {
    let (source, model) = (place.path("source"), place.path("endless.briq"));
    let chain = Chain::new(&[]).follow(&["x", "a", "b", "a"]);
    chain.write(source.as_ref());
    succeed(&["pack", &source, "-o", &model]);
    model
}

/// A reader that is gone ends the answer; a full disk is an error; neither is a
/// panic, on whatever stream.
#[test]
fn streams_that_nobody_reads_end_the_answer() {
    let place = Workplace::new();
    let model = endless(&place);
    for count in ["0", "5", "400"] {
        let run = |stdout: Stdio, stderr: Stdio| {
            Command::new(env!("CARGO_BIN_EXE_briquette"))
                .args(["run", &model, "-p", "x", "-n", count])
                .stdin(Stdio::null())
                .stdout(stdout)
                .stderr(stderr)
                .spawn()
                .unwrap()
                .wait_with_output()
                .unwrap()
        };
        let full = || Stdio::from(File::create("/dev/full").unwrap());
        let output = run(full(), Stdio::piped());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("No space left") && !error.contains("panicked"));
        assert_eq!(run(Stdio::piped(), full()).status.code(), Some(0));

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(writer.into(), Stdio::piped());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{error}");
        // No report of 400 tokens: it has stopped at the first.
        assert!(error.is_empty(), "{error}");
    }
}

#[test]
fn paths_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let place = Workplace::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.briq");
    let output = Command::new(env!("CARGO_BIN_EXE_briquette"))
        .args(["pack", &golden("tiny-llama"), "--json", "-o"])
        .arg(std::path::Path::new(&place.path("")).join(name))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["output"].as_str().unwrap().contains("caf"));
}

#[test]
fn more_threads_than_cores_are_not_started() {
    let place = Workplace::new();
    let model = endless(&place);
    let run = ["run", &model, "-p", "x", "-n", "5"];
    let output = tool(&[&run[..], &["--threads", "100000"]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.contains("threads are used"), "{error}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), succeed(&run));
}

#[test]
fn a_context_beyond_the_training_is_named() {
    let place = Workplace::new();
    let model = endless(&place);
    let output = tool(&["run", &model, "-p", "x", "-n", "2", "--context", "1000"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("longer than the 512 tokens"), "{error}");
}

/// A terminal that takes no colours gets none.
#[test]
fn an_answer_has_no_escape_codes_where_nobody_asked_for_them() {
    let place = Workplace::new();
    let (source, model) = (place.path("source"), place.path("m.briq"));
    let steps = ["x", "<think>", "a", "</think>", "b", END];
    let chain = Chain::new(&[]).special(&["<think>", "</think>"]);
    chain.follow(&steps).write(source.as_ref());
    succeed(&["pack", &source, "-o", &model]);
    let output = tool(&["run", &model, "-p", "x"]);
    for stream in [output.stdout, output.stderr] {
        assert!(!stream.contains(&0x1b));
    }
}
