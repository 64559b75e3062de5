//! What computes, how fast, and to the bit what.

use std::fs;
use std::path::Path;
use std::process::Output;

#[cfg(feature = "wgpu")]
use crate::command::golden;
use crate::command::{command, fail, json, succeed};
use crate::place::Workplace;

/// Runs the tool where no graphics driver can be found.
fn without_driver(args: &[&str]) -> Output {
    command(args)
        .env("VK_ICD_FILENAMES", "nowhere.json")
        .env("VK_DRIVER_FILES", "nowhere.json")
        .output()
        .unwrap()
}

#[test]
fn a_backend_that_is_not_there_is_no_panic() {
    let place = Workplace::new();
    let model = place.path("model.briq");
    let (ids, out) = (place.path("ids.json"), place.path("out.safetensors"));
    fs::write(&ids, "[1, 2, 3]").unwrap();
    for (backend, is_built, missing) in [
        ("wgpu", cfg!(feature = "wgpu"), "no graphics processor"),
        ("cuda", cfg!(feature = "cuda"), "CUDA"),
    ] {
        let text = place.path("text.txt");
        fs::write(&text, "Once upon a time there was a model.").unwrap();
        for args in [
            vec!["run", &model, "-p", "Hi"],
            vec!["logits", &model, "--ids", &ids, "--out", &out],
            vec!["eval", &model, "--text", &text],
            vec!["bench", &model, "--prompt", "8", "--gen", "8"],
        ] {
            let output = without_driver(&[&args[..], &["--backend", backend]].concat());
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
            assert!(!error.contains("panicked"), "{error}");
            if is_built {
                assert!(error.contains(missing), "{error}");
            } else {
                let how = format!("cargo build --release --features {backend}");
                assert!(error.contains(&how), "{error}");
            }
        }
    }
    assert!(!Path::new(&out).exists());
}

#[cfg(feature = "wgpu")]
#[test]
fn a_graphics_processor_says_what_the_processor_says() {
    let place = Workplace::new();
    let model = place.path("gpu.briq");
    for (name, weights) in [("tiny-v3", "q8"), ("tiny-v3", "q4"), ("tiny-llama", "q4")] {
        let source = golden(name);
        succeed(&["pack", &source, "-o", &model, "--weights", weights]);
        let run = ["run", &model, "-p", "Hello, world!", "--raw", "-n", "24"];
        let cpu = json(&run);
        let gpu = json(&[&run[..], &["--backend", "wgpu"]].concat());
        assert_eq!(cpu["tokens"], gpu["tokens"], "{name} {weights}");
    }
    succeed(&["pack", &golden("tiny-v3"), "-o", &model]);
    let run = ["run", &model, "-p", "Hello, world!", "--raw", "-n", "8"];
    let cpu = json(&run);
    let slots = ["--backend", "wgpu", "--expert-slots", "8"];
    let gpu = json(&[&run[..], &slots].concat());
    assert_eq!(cpu["tokens"], gpu["tokens"], "experts in slots");
    assert!(gpu["expert_misses"].as_u64() > Some(0), "{gpu}");
    let bench = [
        "bench", &model, "--prompt", "8", "--gen", "8", "--repeat", "1",
    ];
    let report = json(&[&bench[..], &["--backend", "wgpu"]].concat());
    assert_eq!(report["backend"], "wgpu");
    // The device's bandwidth is not known.
    assert!(report["results"][0]["bandwidth_fraction"].is_null());
}

#[test]
fn logits_are_written_for_every_token() {
    let place = Workplace::new();
    let model = place.path("model.briq");
    let (ids, out) = (place.path("ids.json"), place.path("out.safetensors"));
    fs::write(&ids, "[1, 2, 3]").unwrap();
    succeed(&["logits", &model, "--ids", &ids, "--out", &out]);
    let bytes = fs::read(&out).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("logits").unwrap().shape(), [3, 512]);
    let huge = [
        "logits", &model, "--ids", &ids, "--out", &out, "--pages", "huge",
    ];
    succeed(&huge);
    assert!(bytes == fs::read(&out).unwrap(), "pages change nothing");
    for (bad, expected) in [
        ("[]", "empty"),
        ("[1, 512]", "token 512"),
        ("[-1]", "JSON"),
        ("{", "JSON"),
    ] {
        fs::write(&ids, bad).unwrap();
        let error = fail(&["logits", &model, "--ids", &ids, "--out", &out]);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn bench_reports_json() {
    let place = Workplace::new();
    let model = place.path("model.briq");
    let report = json(&[
        "bench",
        &model,
        "--prompt",
        "8",
        "--gen",
        "4",
        "--threads",
        "1,2",
        "--repeat",
        "1",
    ]);
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert!(
        results
            .iter()
            .all(|r| r["tokens_per_second"].as_f64().unwrap() > 0.0)
    );
}
