//! Forms of folders that mean what the published one means.

use std::fs;
use std::path::Path;

use briquette_engine::blob::Role;

use super::{Stored, folder, llama, safetensors};
use crate::checkpoint::hf::open;
use crate::checkpoint::{Rows, TensorId};

/// A number of the last matrix that is read, after all checks.
fn head(folder: &Path) -> f32 {
    let mut checkpoint = open(folder).unwrap();
    let weights = checkpoint.weights_mut();
    weights.check().unwrap();
    let id = TensorId {
        role: Role::LmHead,
        layer: 0,
    };
    let mut rows = Rows::default();
    weights.read(id, 0, 0..1, &mut rows).unwrap();
    rows.values[0]
}

#[test]
fn wrapped_names_are_read() {
    for (of_model, of_head) in [
        ("", ""),
        ("_orig_mod.model.", "_orig_mod."),
        ("module.model.", "module."),
        ("language_model.model.", "language_model."),
        ("model.language_model.", ""),
        ("transformer.", ""),
    ] {
        let (config, mut tensors) = llama(false);
        for tensor in &mut tensors {
            tensor.name = match tensor.name.strip_prefix("model.") {
                Some(rest) => format!("{of_model}{rest}"),
                None => format!("{of_head}{}", tensor.name),
            };
        }
        assert_eq!(head(folder(&config, &tensors).path()), 11.0, "{of_model}");
    }
}

#[test]
fn one_tensor_under_two_spellings_is_refused() {
    let (config, mut tensors) = llama(false);
    tensors.push(Stored::counting("_orig_mod.lm_head.weight", &[32, 16], 0.0));
    let error = open(folder(&config, &tensors).path()).err().unwrap();
    assert!(error.to_string().contains("another spelling"), "{error}");
}

/// The tensors in files of these names, in turn.
fn in_files(names: &[&str]) -> tempfile::TempDir {
    let (config, tensors) = llama(false);
    let folder = folder(&config, &[]);
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    for (number, name) in names.iter().enumerate() {
        let part: Vec<Stored> = tensors
            .iter()
            .skip(number)
            .step_by(names.len())
            .cloned()
            .collect();
        fs::write(folder.path().join(name), safetensors(&part)).unwrap();
    }
    folder
}

#[test]
fn files_without_an_index_are_read() {
    let shards = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let folder = in_files(&shards);
    assert_eq!(head(folder.path()), 11.0);
    // What is no part of the model.
    for name in ["adapter_model.safetensors", "._model.safetensors"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    assert_eq!(head(folder.path()), 11.0);
    fs::remove_file(folder.path().join(shards[1])).unwrap();
    let error = open(folder.path()).err().unwrap().to_string();
    let expected =
        "has 1 of 2 shards; download what is missing: `model-00002-of-00002.safetensors`";
    assert!(error.contains(expected), "{error}");

    assert_eq!(head(in_files(&["pytorch_model.safetensors"]).path()), 11.0);
    assert_eq!(
        head(in_files(&["a.safetensors", "b.safetensors"]).path()),
        11.0
    );
}

/// Tensors in two files of two forms of the model cannot be told apart.
#[test]
fn two_models_in_one_folder_are_refused() {
    let folder = in_files(&["model.fp32.safetensors"]);
    let name = |name: &str| folder.path().join(name);
    fs::copy(
        name("model.fp32.safetensors"),
        name("model.fp16.safetensors"),
    )
    .unwrap();
    let error = open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("also stands in"), "{error}");
}

fn write_config(folder: &Path, text: &[u8]) {
    fs::write(folder.join("config.json"), text).unwrap();
}

#[test]
fn configurations_are_read_as_editors_and_python_write_them() {
    let (config, tensors) = llama(false);
    let folder = folder(&config, &tensors);
    let text = serde_json::to_string_pretty(&config).unwrap();
    write_config(folder.path(), format!("\u{feff}{text}").as_bytes());
    assert_eq!(head(folder.path()), 11.0);
    write_config(folder.path(), text.replace('\n', "\r\n").as_bytes());
    assert_eq!(head(folder.path()), 11.0);
    let unused = text.replacen('{', r#"{"loss": NaN, "limits": [-Infinity, Infinity],"#, 1);
    write_config(folder.path(), unused.as_bytes());
    assert_eq!(head(folder.path()), 11.0);
    let used = text.replacen('{', r#"{"rms_norm_eps": NaN,"#, 1);
    write_config(folder.path(), used.as_bytes());
    let error = open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("`rms_norm_eps` is \"NaN\""), "{error}");
}

#[test]
fn a_tokenizer_in_another_form_is_named() {
    let (config, tensors) = llama(false);
    for (name, expected) in [
        ("tokenizer.model", "SentencePiece"),
        ("tekken.json", "Tekken"),
        ("qwen.tiktoken", "tiktoken"),
        ("vocab.json", "merges.txt"),
    ] {
        let folder = folder(&config, &tensors);
        fs::write(folder.path().join(name), "x").unwrap();
        let error = open(folder.path())
            .unwrap()
            .tokenizer_json()
            .unwrap_err()
            .to_string();
        let says = |text: &str| assert!(error.contains(text), "{text}: {error}");
        for word in [name, expected, "AutoTokenizer", "--no-tokenizer"] {
            says(word);
        }
    }
}

#[test]
fn a_snapshot_is_called_after_its_model() {
    let (config, tensors) = llama(false);
    let published = folder(&config, &tensors);
    let place = tempfile::tempdir().unwrap();
    let snapshot = place.path().join("models--acme--tiny-1b/snapshots/0123abc");
    fs::create_dir_all(&snapshot).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(published.path().join(name), snapshot.join(name)).unwrap();
    }
    let checkpoint = open(&snapshot).unwrap();
    assert_eq!(checkpoint.model().name.as_deref(), Some("tiny-1b"));
}
