//! Packing: what fits, what is refused by name, and that nothing is destroyed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{command, fail, golden, json, repository, signal, succeed, tool};
use crate::place::{Workplace, copy_of};

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
#[test]
fn an_interrupt_leaves_nothing_behind() {
    let gguf = repository().join("models/cache/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(
        gguf.is_file(),
        "the checkpoint is missing; fetch it with: cargo run --release -- demo smollm2 --fetch-only"
    );
    let place = Workplace::new();
    let model = place.path("model.briq");
    let before = fs::read(&model).unwrap();
    let mut child = command(&["pack", gguf.to_str().unwrap(), "-o", &model])
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
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(place.files(), ["model.briq"]);
    assert_eq!(fs::read(&model).unwrap(), before);
}
