//! Other things in the place of a folder's files, and weights in forms that are
//! not read.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{folder, llama, with};
use crate::checkpoint::hf::open;

const POINTER: &str =
    "version https://git-lfs.github.com/spec/v1\noid sha256:abab\nsize 4976698672\n";
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>401</title></head></html>\n";
const ERROR: &str = "{\"error\":\"Invalid username or password.\"}";

/// What opening the folder and reading its tokenizer says.
fn message(folder: &Path) -> String {
    let read = open(folder).and_then(|mut checkpoint| {
        checkpoint.weights_mut().check()?;
        checkpoint.tokenizer_json()
    });
    read.err()
        .map_or_else(String::new, |error| error.to_string())
}

#[test]
fn every_file_that_is_something_else_is_named_with_its_path() {
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
    ] {
        for (content, expected) in [
            (POINTER, "Git LFS pointer"),
            (PAGE, "HTML page"),
            (ERROR, "server's error message"),
            ("", "is empty"),
        ] {
            let (config, tensors) = llama(false);
            let folder = folder(&config, &tensors);
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            let text = message(folder.path());
            let has_path = text.contains(&*path.to_string_lossy());
            assert!(
                text.contains(expected) && has_path,
                "{name}, {expected}: {text}"
            );
        }
    }
}

#[test]
fn shards_and_their_index_are_no_exception() {
    let (config, tensors) = llama(false);
    let folder = folder(&config, &tensors);
    let name = |name: &str| folder.path().join(name);
    fs::rename(
        name("model.safetensors"),
        name("model-00001-of-00001.safetensors"),
    )
    .unwrap();
    fs::write(name("model.safetensors.index.json"), POINTER).unwrap();
    assert!(message(folder.path()).contains("index.json: is a Git LFS pointer"));
    fs::remove_file(name("model.safetensors.index.json")).unwrap();
    fs::write(name("model-00001-of-00001.safetensors"), POINTER).unwrap();
    assert!(message(folder.path()).contains("it is a Git LFS pointer"));
}

#[test]
fn a_tokenizer_that_is_cut_off_is_named_with_its_path() {
    let (config, tensors) = llama(false);
    let folder = folder(&config, &tensors);
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, "{\"version\": \"1.0\", \"mod").unwrap();
    let text = message(folder.path());
    assert!(text.starts_with(&*path.to_string_lossy()), "{text}");
    assert!(text.contains("is the download complete?"), "{text}");
}

#[test]
fn weights_in_other_forms_are_named() {
    let (config, tensors) = llama(false);
    for (name, expected) in [
        ("pytorch_model.bin", "save_pretrained"),
        ("pytorch_model-00001-of-00002.bin", "save_pretrained"),
        ("model.pt", "save_pretrained"),
        ("consolidated.00.pth", "Meta's or Mistral's own form"),
        ("model.Q4_K_M.gguf", "give the file"),
        ("adapter_model.safetensors", "merge_and_unload"),
        ("model.onnx", "ONNX"),
        ("tf_model.h5", "TensorFlow"),
    ] {
        let folder = folder(&config, &tensors);
        fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        fs::write(folder.path().join(name), "x").unwrap();
        let text = message(folder.path());
        assert!(text.contains(expected), "{name}: {text}");
    }
    let folder = folder(&config, &tensors);
    fs::write(
        folder.path().join("model.safetensors"),
        b"PK\x03\x04 archive/data.pkl",
    )
    .unwrap();
    assert!(message(folder.path()).contains("it is PyTorch's own format"));
}

#[test]
fn weights_quantised_by_others_are_named() {
    let (config, tensors) = llama(false);
    for (key, value, expected) in [
        (
            "quantization",
            json!({"group_size": 64, "bits": 4}),
            "quantised by MLX",
        ),
        (
            "quantization_config",
            json!({"group_size": 64, "bits": 4}),
            "quant_method",
        ),
        (
            "quantization_config",
            json!({"quant_method": "gptq", "bits": 4}),
            "`gptq`",
        ),
        (
            "quantization_config",
            json!({"quant_method": "awq"}),
            "`awq`",
        ),
        (
            "quantization_config",
            json!({"quant_method": "compressed-tensors"}),
            "`compressed-tensors`",
        ),
        (
            "quantization_config",
            json!({"load_in_4bit": true}),
            "`bitsandbytes`",
        ),
        (
            "compression_config",
            json!({"format": "pack"}),
            "compressed-tensors",
        ),
    ] {
        let folder = folder(&with(&config, json!({ key: value })), &tensors);
        let text = message(folder.path());
        assert!(
            text.contains(expected) && text.contains("config.json"),
            "{expected}: {text}"
        );
    }
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_are_named() {
    for name in [
        "model.safetensors",
        "tokenizer.json",
        "generation_config.json",
    ] {
        let (config, tensors) = llama(false);
        let folder = folder(&config, &tensors);
        let path = folder.path().join(name);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink("../blobs/abc", &path).unwrap();
        let text = message(folder.path());
        assert!(text.contains("is a link to ../blobs/abc"), "{name}: {text}");
    }
}
