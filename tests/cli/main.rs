//! The tool as a stranger uses it.

mod chain;
mod outputs;
mod prompts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use briquette::train::sentry::{Bound, Problem, Reading, Split};
use serde_json::Value;
use tempfile::TempDir;

fn tool(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_briquette"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    path.join(name).to_str().unwrap().to_owned()
}

fn succeed(args: &[&str]) -> String {
    let output = tool(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs what must fail with exit code 1 and returns the message.
fn fail(args: &[&str]) -> String {
    let output = tool(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.lines().any(|line| line.starts_with("error: ")),
        "{errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

fn json(args: &[&str]) -> Value {
    let mut args = args.to_vec();
    args.push("--json");
    serde_json::from_str(&succeed(&args)).unwrap()
}

/// A folder with a packed model.
struct Workplace {
    folder: TempDir,
}

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        let model = place.path("model.briq");
        succeed(&["pack", &golden("tiny-v3"), "-o", &model, "--weights", "q8"]);
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Names of all files, partial ones included.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// A copy of a golden folder, to be damaged.
fn copy_of(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        let to = folder.path().join(path.file_name().unwrap());
        fs::write(to, fs::read(&path).unwrap()).unwrap();
    }
    let path = folder.path().to_owned();
    (folder, path)
}

#[test]
fn help_shows_examples() {
    let verbs = [
        "demo", "pack", "inspect", "verify", "run", "tokenize", "logits", "eval", "bench", "flash",
        "device", "train",
    ];
    let help = succeed(&["--help"]);
    for verb in verbs {
        assert!(help.contains(verb), "{verb}");
        let help = succeed(&[verb, "--help"]);
        assert!(help.contains(&format!("briquette {verb}")), "{help}");
    }
}

#[test]
fn wrong_usage_has_exit_code_two() {
    for args in [
        &["press"][..],
        &["pack"],
        &["pack", "x", "-o", "y", "--weights", "q3"],
        &["run", "model.briq", "-n", "many"],
        &["bench", "model.briq", "--threads", "x"],
    ] {
        assert_eq!(tool(args).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(tool(&[]).status.code(), Some(2));
}

#[test]
fn missing_and_odd_files_are_named() {
    let place = Workplace::new();
    for verb in ["inspect", "verify", "run", "bench"] {
        assert!(fail(&[verb, "nowhere.briq"]).contains("nowhere.briq"));
    }
    let folder = place.path("");
    assert!(fail(&["verify", &folder]).contains("folder"));
    let text = place.path("text.briq");
    fs::write(&text, "hello").unwrap();
    assert!(fail(&["verify", &text]).contains("not a briquette"));
    fs::write(&text, "").unwrap();
    fail(&["verify", &text]);
    let out = place.path("out.briq");
    assert!(fail(&["pack", "nowhere", "-o", &out]).contains("nowhere"));
    assert!(fail(&["pack", &text, "-o", &out]).contains("GGUF"));
    assert!(fail(&["pack", &folder, "-o", &out]).contains("config.json"));
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_packed_model_can_be_inspected_and_verified() {
    let place = Workplace::new();
    let model = place.path("model.briq");
    let report = json(&["inspect", &model]);
    assert_eq!(report["config"]["attention"]["kv_lora_rank"], 32);
    assert_eq!(report["config"]["moe"]["top_k"], 4);
    let size = fs::metadata(&model).unwrap().len();
    assert_eq!(report["file_bytes"], size);
    // 32 codes, a scale, and eight rotated numbers of two bytes; three layers.
    assert_eq!(report["kv"]["bytes_per_token"], 3 * (32 + 2 + 16));
    let memory = &report["memory"];
    let sum = memory["scratch_bytes"].as_u64().unwrap() + memory["kv_bytes"].as_u64().unwrap();
    assert_eq!(memory["arena_bytes"], sum);
    assert!(succeed(&["inspect", &model]).contains("MLA"));
    assert_eq!(json(&["verify", &model])["ok"], true);

    let mut bytes = fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes).unwrap();
    assert!(fail(&["verify", &model]).contains("checksum"));
}

#[test]
fn text_commands_work() {
    let place = Workplace::new();
    let model = place.path("model.briq");
    let tokens = json(&["tokenize", &model, "Hello, world!"]);
    assert_eq!(tokens["ids"][0], 45);
    let run = |seed: &str| {
        json(&[
            "run", &model, "-p", "Hi", "-n", "12", "--temp", "1", "--seed", seed,
        ])
    };
    assert_eq!(run("5")["tokens"], run("5")["tokens"]);
    assert_ne!(run("5")["tokens"], run("6")["tokens"]);
    let greedy = json(&["run", &model, "-p", "Hi", "--raw", "-n", "4"]);
    assert_eq!(greedy["tokens"].as_array().unwrap().len(), 4);
    assert_eq!(greedy["stop"], "length");
    let full = json(&["run", &model, "-p", "Hi", "--raw", "--context", "8"]);
    assert_eq!(full["stop"], "context_full");
    let long = "word ".repeat(50);
    let error = fail(&["run", &model, "-p", &long, "--raw", "--context", "8"]);
    assert!(error.contains("8 tokens fit"), "{error}");

    let book = place.path("book.txt");
    fs::write(&book, "A short text, just long enough to be measured.").unwrap();
    let report = json(&["eval", &model, "--text", &book, "--window", "16"]);
    assert!(report["perplexity"].as_f64().unwrap() > 1.0);
    fs::write(&book, b"caf\xe9").unwrap();
    assert!(fail(&["eval", &model, "--text", &book]).contains("byte 3"));
}

#[test]
fn guesses_change_the_speed_and_not_the_answer() {
    let place = Workplace::new();
    let model = place.path("model.briq");
    // It repeats itself, so guesses come true; sampled text they rarely do.
    for sampling in [&["--temp", "0"][..], &["--temp", "0.7", "--top-k", "2"]] {
        let run = |draft: &str| {
            let all = ["run", &model, "--raw", "-p", "ab ab ab ab ab", "-n", "120"];
            json(&[&all[..], &["--seed", "3", "--draft", draft], sampling].concat())
        };
        let plain = run("0");
        let tokens = plain["tokens"].as_array().unwrap().len() as u64;
        // A full cache ends before the last token is computed.
        let last = u64::from(plain["stop"] == "context_full");
        assert_eq!(plain["decode_passes"], tokens - last);
        for draft in ["1", "4", "100"] {
            let guessed = run(draft);
            for field in ["tokens", "stop", "text"] {
                assert_eq!(guessed[field], plain[field], "{draft} {sampling:?}");
            }
            let fewer = guessed["decode_passes"].as_u64() < plain["decode_passes"].as_u64();
            assert!(fewer || sampling[1] != "0", "{guessed}");
        }
    }
}

/// A golden checkpoint with a layer for multi-token prediction, given a tokenizer
/// of one character a token.
fn mtp_checkpoint(place: &Workplace) -> String {
    let folder = place.path("checkpoint");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(golden("v3-yarn-mscale")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, Path::new(&folder).join(path.file_name().unwrap())).unwrap();
    }
    let vocab: serde_json::Map<_, _> = ('!'..='~')
        .chain(['\u{120}', '\u{10a}'])
        .enumerate()
        .map(|(id, character)| (character.to_string(), id.into()))
        .collect();
    let tokenizer = serde_json::json!({
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "use_regex": true },
        "decoder": { "type": "ByteLevel" },
    });
    let path = Path::new(&folder).join("tokenizer.json");
    fs::write(path, tokenizer.to_string()).unwrap();
    folder
}

#[test]
fn the_layer_for_multi_token_prediction_changes_no_answer() {
    let place = Workplace::new();
    let checkpoint = mtp_checkpoint(&place);
    let model = place.path("mtp.briq");
    let pack = ["pack", &checkpoint, "-o", &model, "--context", "64"];
    assert!(succeed(&pack).contains("--mtp"));
    assert_eq!(json(&["inspect", &model])["mtp"], Value::Null);
    let run = |more: &[&str]| {
        json(&[&["run", &model, "--raw", "-p", "ab cd", "-n", "40"], more].concat())
    };
    let plain = run(&["--draft", "0"]);
    assert_eq!(plain["draft"], "none");
    let run_mtp = ["run", &model, "--raw", "-p", "ab", "--draft", "mtp"];
    assert!(fail(&run_mtp).contains("pack it with --mtp"));

    let packed = json(&[&pack[..], &["--mtp"]].concat());
    assert_eq!(packed["mtp"], true);
    assert!(json(&["inspect", &model])["mtp"]["bytes"].as_u64() > Some(10_000));
    assert!(succeed(&["inspect", &model]).contains("mtp layer"));
    for sampling in [&["--temp", "0"][..], &["--temp", "0.9", "--seed", "5"]] {
        let plain = run(&[&["--draft", "0"], sampling].concat());
        for draft in ["mtp", "mtp:3"] {
            let guessed = run(&[&["--draft", draft], sampling].concat());
            assert_eq!(guessed["tokens"], plain["tokens"], "{draft} {sampling:?}");
            assert_eq!(guessed["draft"], "mtp");
            let [passes, proposed, accepted] =
                ["decode_passes", "drafts_proposed", "drafts_accepted"]
                    .map(|field| guessed[field].as_u64().unwrap());
            assert!(proposed >= passes - 2, "{guessed}");
            let plain_passes = plain["decode_passes"].as_u64().unwrap();
            assert_eq!(passes + accepted, plain_passes, "{guessed}");
        }
    }
    let flex = [&run_mtp[..], &["--backend", "flex"]].concat();
    assert!(fail(&flex).contains("`cpu` backend only"));

    let other = ["pack", &golden("tiny-v3"), "-o", &place.path("x"), "--mtp"];
    assert!(fail(&other).contains("no layer for multi-token prediction"));
}

#[test]
fn a_prompt_is_kept_for_later_runs() {
    let place = Workplace::new();
    let (model, cache) = (place.path("model.briq"), place.path("prompt.cache"));
    let ask = |prompt: &str, more: &[&str]| {
        json(&[&["run", &model, "--raw", "-n", "9", "-p", prompt], more].concat())
    };
    let kept = ["--prompt-cache", cache.as_str()];
    let first = ask("The quick brown fox", &kept);
    let bytes = fs::read(&cache).unwrap();
    let again = ask("The quick brown fox", &kept);
    assert_eq!(again["tokens"], first["tokens"]);
    assert_eq!(again["prompt_tokens"], 1);
    let other = ask("The quick brown dog", &kept);
    assert_eq!(other["tokens"], ask("The quick brown dog", &[])["tokens"]);
    assert!(other["prompt_tokens"].as_u64() < first["prompt_tokens"].as_u64());
    assert_eq!(fs::read(&cache).unwrap(), bytes);

    fs::write(&cache, &bytes[..bytes.len() - 1]).unwrap();
    let run = ["run", &model, "-p", "x", "--prompt-cache", &cache];
    let error = fail(&run);
    assert!(
        error.contains("prompt.cache") && error.contains("promises"),
        "{error}"
    );
    fs::write(&cache, "a diary").unwrap();
    assert!(fail(&run).contains("not a snapshot"));
    assert_eq!(fs::read(&cache).unwrap(), b"a diary");
}

/// However few experts are in memory, the answer is the same; the reads are
/// counted, and damage is found.
#[test]
fn experts_can_stay_in_the_file() {
    let place = Workplace::new();
    let model = place.path("model.briq");
    let run = ["run", &model, "-p", "Hello, world!", "--raw", "-n", "12"];
    let mapped = json(&run);
    assert_eq!(mapped["storage_bytes"], 0);
    let report = json(&["inspect", &model]);
    let sizes = &report["not_mapped"];
    assert_eq!(sizes["experts"], 32);
    let expert = sizes["expert_slot_bytes"].as_u64().unwrap();
    let file = report["file_bytes"].as_u64().unwrap();
    assert_eq!(sizes["loaded_bytes"], file - 32 * expert);
    // Header, manifest and trailer are no part of the payload, experts are.
    let payload = report["memory"]["resident_bytes"].as_u64().unwrap();
    assert!(payload < file && payload > sizes["loaded_bytes"].as_u64().unwrap());
    assert_eq!(sizes.get("resident_bytes"), None);
    let mut bytes = u64::MAX;
    for slots in ["1", "8", "32"] {
        let mut args = run.to_vec();
        args.extend(["--expert-slots", slots]);
        let stored = json(&args);
        assert_eq!(stored["tokens"], mapped["tokens"], "{slots} slots");
        let count = |name: &str| stored[name].as_u64().unwrap();
        assert_eq!(count("storage_bytes"), count("expert_misses") * expert);
        assert!(count("storage_bytes") < bytes, "{slots} slots");
        bytes = count("storage_bytes");
    }
    let bench = [
        "bench", &model, "--prompt", "8", "--gen", "8", "--repeat", "1",
    ];
    let mut args = bench.to_vec();
    args.extend(["--expert-slots", "4"]);
    for result in json(&args)["results"].as_array().unwrap() {
        assert!(result["storage_bytes_per_token"].as_f64().unwrap() > 0.0);
    }
    assert!(succeed(&args).contains("of the experts were in memory"));

    let whole = fs::read(&model).unwrap();
    let cut = place.path("cut.briq");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let error = fail(&["run", &cut, "-p", "Hi", "--expert-slots", "4"]);
    assert!(error.contains("cut.briq"), "{error}");

    let board = place.path("board.toml");
    let profile = "description = \"a card\"\nram_bytes = 500000\nreserved_ram_bytes = 0\n\
                   flash_bytes = 1000000\nreserved_flash_bytes = 0\nflash_mapped = false\n";
    fs::write(&board, profile).unwrap();
    let out = place.path("out.briq");
    let source = golden("tiny-v3");
    let pack = [
        "pack",
        &source,
        "-o",
        &out,
        "--batch",
        "1",
        "--context",
        "64",
    ];
    let mut args = pack.to_vec();
    args.extend(["--target", &board]);
    let fit = succeed(&args);
    assert!(fit.contains("of 32 experts in memory"), "{fit}");
}

/// Runs the tool where no graphics driver can be found.
fn without_driver(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_briquette"))
        .args(args)
        .env("VK_ICD_FILENAMES", "nowhere.json")
        .env("VK_DRIVER_FILES", "nowhere.json")
        .stdin(Stdio::null())
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

#[test]
fn targets_refuse_what_does_not_fit_and_say_what_would() {
    let place = Workplace::new();
    let out = place.path("out.briq");
    let source = golden("tiny-v3");
    let pack = |extra: &[&'static str]| -> Vec<&str> {
        let mut args = vec!["pack", &source, "-o", &out, "--target"];
        args.extend(extra);
        args
    };
    succeed(&pack(&["rp2350"]));
    fs::remove_file(&out).unwrap();
    assert!(fail(&pack(&["arduino"])).contains("rp2350"));
    let error = fail(&pack(&["rp2350", "--context", "16384"]));
    assert!(error.contains("456.00 KiB free RAM"), "{error}");
    assert!(!Path::new(&out).exists());
    // What it says would fit does.
    let context = error.split("fit with --context ").nth(1).unwrap();
    let context = context.split_whitespace().next().unwrap();
    let mut args = pack(&["rp2350", "--context"]);
    args.push(context);
    succeed(&args);
}

#[test]
fn an_unknown_tokenizer_can_be_left_out() {
    let place = Workplace::new();
    let (_keep, folder) = copy_of("tiny-v2");
    let file = folder.join("tokenizer.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"BPE\"", "\"Unigram\"")).unwrap();
    let (source, out) = (folder.to_str().unwrap(), place.path("out.briq"));
    let error = fail(&["pack", source, "-o", &out]);
    assert!(
        error.contains("Unigram") && error.contains("--no-tokenizer"),
        "{error}"
    );
    succeed(&["pack", source, "-o", &out, "--no-tokenizer"]);
    assert!(fail(&["run", &out, "-p", "Hi"]).contains("no tokenizer"));
    assert_eq!(json(&["verify", &out])["ok"], true);
}

/// Weights that a format cannot hold: the largest f16 is 65504 (IEEE 754).
#[test]
fn a_weight_out_of_range_is_refused_by_its_tensor() {
    let place = Workplace::new();
    let (_keep, folder) = copy_of("llama3-rope");
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    let width = tensors[name]["shape"][1].as_u64().unwrap() as usize;
    let start = tensors[name]["data_offsets"][0].as_u64().unwrap() as usize;
    let at = 8 + header + start + 4 * (3 * width + 5);
    bytes[at..at + 4].copy_from_slice(&1e7_f32.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let (source, out) = (folder.to_str().unwrap(), place.path("out.briq"));
    for format in ["f16", "q8", "q4", "q4a"] {
        let error = fail(&["pack", source, "-o", &out, "--weights", format]);
        for part in [name, "row 3", "1e7", format, "too large", "--mlp f32"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!Path::new(&out).exists());
    }
    succeed(&[
        "pack",
        source,
        "-o",
        &out,
        "--weights",
        "q8",
        "--mlp",
        "f32",
    ]);
}

#[test]
fn pre_tokenizers_can_be_named_for_gguf_files_only() {
    let place = Workplace::new();
    let out = place.path("out.briq");
    let pack = |more: &[&str]| tool(&[&["pack", &golden("tiny-llama"), "-o", &out], more].concat());
    let unknown = pack(&["--pre", "nonsense"]);
    assert_eq!(unknown.status.code(), Some(2));
    let errors = String::from_utf8(unknown.stderr).unwrap();
    assert!(
        errors.contains("nonsense") && errors.contains("llama-bpe"),
        "{errors}"
    );
    assert_eq!(
        pack(&["--pre", "qwen2", "--no-tokenizer"]).status.code(),
        Some(2)
    );
    let error = fail(&["pack", &golden("tiny-llama"), "-o", &out, "--pre", "qwen2"]);
    assert!(error.contains("--pre is for GGUF files"), "{error}");
}

/// A refused checkpoint leaves an existing output as it was, and no other file.
/// Packs a model with this chat template; returns the file and what was said.
fn packed_with(place: &Workplace, template: &str, options: &[&str]) -> (String, Output) {
    let (_guard, folder) = copy_of("tiny-v3");
    let config = folder.join("tokenizer_config.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    tokenizer["chat_template"] = template.into();
    fs::write(&config, tokenizer.to_string()).unwrap();
    let model = place.path("templated.briq");
    let pack = ["pack", folder.to_str().unwrap(), "-o", &model];
    let output = tool(&[&pack, options].concat());
    (model, output)
}

#[test]
fn a_chat_template_is_tried_when_it_is_packed() {
    let place = Workplace::new();
    let said = |output: Output| String::from_utf8(output.stderr).unwrap();
    let (_, output) = packed_with(&place, "{{ messages[0].content | shout }}", &[]);
    assert_eq!(output.status.code(), Some(1));
    let errors = said(output);
    assert!(errors.contains("filter shout is unknown"), "{errors}");
    assert!(errors.contains("--no-template"), "{errors}");
    let (model, output) = packed_with(&place, "{{ broken", &["--no-template"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(said(output), "");
    succeed(&["run", &model, "-p", "Hi", "-n", "1"]);
    let no_system = "{% if messages[0].role == 'system' %}{{ raise_exception('No system') }}\
                     {% endif %}{% for m in messages %}{{ m.content }}{% endfor %}";
    let (_, output) = packed_with(&place, no_system, &[]);
    assert_eq!(output.status.code(), Some(0));
    let warnings = said(output);
    assert!(
        warnings.contains("a system prompt: No system"),
        "{warnings}"
    );
    let dated = "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}";
    let (_, output) = packed_with(&place, dated, &[]);
    let warnings = said(output);
    assert!(warnings.contains("devices have no clock"), "{warnings}");
}

#[test]
fn the_date_that_a_template_asks_for_can_be_fixed() {
    let place = Workplace::new();
    let template = "{{ strftime_now('%A, %d %B %Y') }} {{ messages[0].content }}";
    let (model, _) = packed_with(&place, template, &[]);
    // Days of different lengths, from Python's calendar.
    for (date, text) in [
        ("2024-07-26", "Friday, 26 July 2024 x"),
        ("2025-09-03", "Wednesday, 03 September 2025 x"),
    ] {
        let tokens = json(&["tokenize", &model, text])["ids"]
            .as_array()
            .unwrap()
            .len();
        let answer = json(&["run", &model, "-p", "x", "-n", "1", "--date", date]);
        assert_eq!(answer["prompt_tokens"], tokens, "{date}");
    }
    let wrong = tool(&["run", &model, "-p", "x", "--date", "26.7.2024"]);
    assert_eq!(wrong.status.code(), Some(2));
    let errors = String::from_utf8(wrong.stderr).unwrap();
    assert!(errors.contains("YYYY-MM-DD"), "{errors}");
}

#[test]
fn failed_packing_destroys_nothing() {
    let place = Workplace::new();
    let model = place.path("model.briq");
    let before = fs::read(&model).unwrap();
    let (_keep, folder) = copy_of("tiny-v2");
    let weights = folder.join("model.safetensors");
    let sound = fs::read(&weights).unwrap();
    let source = folder.to_str().unwrap().to_owned();

    fs::write(&weights, &sound[..sound.len() / 2]).unwrap();
    fail(&["pack", &source, "-o", &model]);
    let mut poisoned = sound.clone();
    let at = poisoned.len() - 4;
    poisoned[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, &poisoned).unwrap();
    assert!(fail(&["pack", &source, "-o", &model]).contains("NaN"));
    fs::write(&weights, &sound).unwrap();
    let config = folder.join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("DeepseekV2ForCausalLM", "OtherForCausalLM"),
    )
    .unwrap();
    let error = fail(&["pack", &source, "-o", &model]);
    assert!(error.contains("OtherForCausalLM") && error.contains("DeepseekV3ForCausalLM"));
    fs::write(
        &config,
        text.replace("\"kv_lora_rank\": 32", "\"kv_lora_rank\": 48"),
    )
    .unwrap();
    let error = fail(&["pack", &source, "-o", &model]);
    assert!(
        error.contains("shape") && error.contains("[56, 64]"),
        "{error}"
    );

    assert_eq!(fs::read(&model).unwrap(), before);
    assert_eq!(place.files(), ["model.briq"]);
    let nowhere = place.path("no/such/folder/out.briq");
    assert!(fail(&["pack", &golden("tiny-v2"), "-o", &nowhere]).contains("no/such/folder"));
}

/// Ctrl-C half-way: the partial file goes, an existing one stays.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing_behind() {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/cache");
    let gguf = cache.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(
        gguf.is_file(),
        "the checkpoint is missing; fetch it with: cargo run --release -- demo smollm2 --fetch-only"
    );
    let place = Workplace::new();
    let model = place.path("model.briq");
    let before = fs::read(&model).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_briquette"))
        .args(["pack", gguf.to_str().unwrap(), "-o", &model])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while place.files().len() < 2 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "no partial file appeared"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(place.files(), ["model.briq"]);
    assert_eq!(fs::read(&model).unwrap(), before);
}

fn repository(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    path.to_str().unwrap().to_owned()
}

/// What the README's first command shows, and that it was not learnt by heart.
#[test]
fn the_demo_fits_its_board_and_answers_what_it_has_never_seen() {
    let cache = tempfile::tempdir().unwrap();
    let shown = succeed(&[
        "demo",
        "--models",
        &repository("models"),
        "--cache",
        cache.path().to_str().unwrap(),
    ]);
    assert!(shown.contains("fits RP2350, Cortex-M33: arena "), "{shown}");
    let question = "> pump 17 max 12 tank 9 min 11 fan 8 max 8 alarms ?";
    assert!(shown.contains(question), "{shown}");
    assert!(shown.ends_with("\npump tank\n"), "{shown}");
    let reading = |name, value, bound, limit| Reading {
        name,
        value,
        bound,
        limit,
    };
    let problem = Problem {
        readings: vec![
            reading(0, 17, Bound::Max, 12),
            reading(1, 9, Bound::Min, 11),
            reading(2, 8, Bound::Max, 8),
        ],
    };
    assert_eq!(problem.split(), Split::HeldOut);
    let nowhere = fail(&[
        "demo",
        "--models",
        "nowhere",
        "--cache",
        cache.path().to_str().unwrap(),
    ]);
    assert!(nowhere.contains("--models"), "{nowhere}");
}

#[test]
fn thinking_and_answer_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("sentry.briq");
    let model = model.to_str().unwrap();
    succeed(&["pack", &repository("models/sentry"), "-o", model]);
    let ask = ["run", model, "-p", "oven 9 max 8 tank 20 min 14 alarms ?"];
    let with = |more: &[&'static str]| [&ask[..], more].concat();

    let free = json(&with(&[]));
    assert_eq!(free["thinking"], "oven 9 > 8 hi ; tank 20 > 14 ok");
    assert_eq!(free["text"], "oven");
    let output = tool(&with(&[]));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "oven\n");
    let thought = String::from_utf8(output.stderr).unwrap();
    assert!(
        thought.contains("oven 9 > 8 hi ; tank 20 > 14 ok\n"),
        "{thought}"
    );

    let hurried = json(&with(&["--think-budget", "3"]));
    assert_eq!(hurried["thinking"], "oven 9 >");
    assert_eq!(hurried["stop"], "end_of_text");

    let short = json(&with(&[
        "--guarantee",
        "-n",
        "6",
        "--temp",
        "5",
        "--seed",
        "2",
    ]));
    assert_eq!(short["stop"], "end_of_text");
    assert!(short["tokens"].as_array().unwrap().len() <= 6, "{short}");
    let refused = fail(&with(&["--guarantee", "-n", "3"]));
    assert!(refused.contains("4 tokens"), "{refused}");
}

#[test]
fn training_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let recipe = repository("models/sentry/recipe.toml");
    let missing = fail(&["train", "sft", "--recipe", "nowhere.toml", "--out", out]);
    assert!(missing.contains("nowhere.toml"), "{missing}");
    let first = fail(&["train", "grpo", "--recipe", &recipe, "--out", out]);
    assert!(first.contains("briquette train sft"), "{first}");
    let nothing = fail(&["train", "eval", "--recipe", &recipe, "--out", out]);
    assert!(nothing.contains("train first"), "{nothing}");
    // The text of this recipe is not beside it.
    let text = folder.path().join("recipe.toml");
    fs::copy(repository("models/kjv/recipe.toml"), &text).unwrap();
    let unread = fail(&[
        "train",
        "sft",
        "--recipe",
        text.to_str().unwrap(),
        "--out",
        out,
    ]);
    assert!(unread.contains("kjv.txt"), "{unread}");
    let scores = json(&[
        "train",
        "eval",
        "--recipe",
        &recipe,
        "--model",
        &repository("models/sentry"),
        "--problems",
        "20",
        "--samples",
        "2",
        "--weights",
        "q4",
    ]);
    let scores = scores["models"][0]["scores"].as_array().unwrap().clone();
    assert_eq!(scores.len(), 4);
    assert!(
        scores
            .iter()
            .all(|s| s["greedy_right"].as_f64().unwrap() > 0.8)
    );
}
