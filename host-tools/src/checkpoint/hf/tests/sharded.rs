//! Weights in several files.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Stored, safetensors};
use crate::checkpoint::hf::store::SafetensorsStore;
use crate::checkpoint::{ImportError, Rows, TensorStore};

const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";

fn tensors() -> [Stored; 4] {
    ["gate", "up", "down", "norm"].map(|name| {
        let first = f32::from(name.as_bytes()[0]);
        Stored::counting(name, &[2, 2], first)
    })
}

/// One expert's gate and up lie in different files.
fn folder(weight_map: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let [gate, up, down, norm] = tensors();
    fs::write(folder.path().join(ONE), safetensors(&[gate, down])).unwrap();
    fs::write(folder.path().join(TWO), safetensors(&[up, norm])).unwrap();
    let index = json!({"metadata": {"total_size": 64}, "weight_map": weight_map});
    let path = folder.path().join("model.safetensors.index.json");
    fs::write(path, index.to_string()).unwrap();
    folder
}

fn sound_map() -> Value {
    json!({"gate": ONE, "up": TWO, "down": ONE, "norm": TWO})
}

fn message(folder: &Path) -> String {
    SafetensorsStore::open(folder, None)
        .unwrap_err()
        .to_string()
}

#[test]
fn tensors_are_read_from_their_files() {
    let folder = folder(&sound_map());
    let mut store = SafetensorsStore::open(folder.path(), None).unwrap();
    let mut rows = Rows::default();
    for tensor in tensors() {
        let first = f32::from(tensor.name.as_bytes()[0]);
        store.read_rows(&tensor.name, 1..2, &mut rows).unwrap();
        assert_eq!(rows.values, [first + 2.0, first + 3.0], "{}", tensor.name);
    }
    let absent = store.read_rows("other", 0..0, &mut rows);
    assert!(matches!(absent, Err(ImportError::MissingTensor { .. })));
}

#[test]
fn an_index_cannot_name_files_elsewhere() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    let absolute = outside.path().to_str().unwrap();
    for file in [
        "../secret.safetensors",
        "..",
        ".",
        "",
        absolute,
        "a/../b",
        "sub/x",
        r"..\x",
        "./x",
    ] {
        let folder = folder(&json!({ "gate": file }));
        assert!(
            message(folder.path()).contains("not a plain file name"),
            "{file}"
        );
    }
}

#[test]
fn what_an_index_promises_must_be_there() {
    let mut map = sound_map();
    map["more"] = json!("model-00003-of-00003.safetensors");
    let text = message(folder(&map).path());
    assert!(text.contains("`model-00003-of-00003.safetensors`, which is not in the folder"));

    let mut map = sound_map();
    map["more"] = json!(ONE);
    assert!(message(folder(&map).path()).contains("says that tensor `more` is in"));

    let mut map = sound_map();
    map["up"] = json!(ONE);
    assert!(message(folder(&map).path()).contains("says that tensor `up` is in"));
}

#[test]
fn no_tensor_may_be_in_two_files() {
    let folder = folder(&sound_map());
    let [gate, up, _, norm] = tensors();
    fs::write(folder.path().join(TWO), safetensors(&[up, norm, gate])).unwrap();
    assert!(message(folder.path()).contains("tensor `gate` also stands in"));
}

#[test]
fn an_index_that_is_none_is_refused() {
    for map in [json!(null), json!([]), json!({}), json!({"gate": 1})] {
        assert!(message(folder(&map).path()).contains("weight_map"), "{map}");
    }
    let nothing = Value::Object(Map::new());
    let folder = folder(&sound_map());
    let path = folder.path().join("model.safetensors.index.json");
    fs::write(path, nothing.to_string()).unwrap();
    assert!(message(folder.path()).contains("weight_map"));
}
