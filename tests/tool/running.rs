//! Answers: sampled, speculated, with experts in the file, from a kept prompt,
//! with a thought before them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{fail, golden, in_repository, json, succeed, tool};
use crate::place::Workplace;

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
    // It repeats itself, so drafts are accepted; of sampled text they rarely are.
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
/// of one character per token.
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

#[test]
fn thinking_and_answer_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("sentry.briq");
    let model = model.to_str().unwrap();
    succeed(&["pack", &in_repository("models/sentry"), "-o", model]);
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
