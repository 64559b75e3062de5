//! Which files of a folder hold the weights.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::files::{self, MAX_INDEX_BYTES};
use super::header::{Shard, TensorEntry};
use super::keys::Keys;
use super::unindexed;
use crate::checkpoint::ImportError;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The open files, and each tensor with the number of its file.
pub(super) type OpenShards = (Vec<Shard>, HashMap<String, (usize, TensorEntry)>);

/// Opens the weights of `folder`: `model.safetensors`, or else every shard
/// that `model.safetensors.index.json` names, or else, where there is no
/// index, what safetensors files there are.
///
/// # Errors
/// If there are no such files, one is broken or absent, the index names files
/// outside the folder or tensors that its files lack, or two shards have a
/// tensor of the same name.
pub(super) fn open(folder: &Path) -> Result<OpenShards, ImportError> {
    let single = folder.join(SINGLE);
    if files::is_there(&single) {
        return open_all(&[single]);
    }
    let index = folder.join(INDEX);
    if !files::is_there(&index) {
        return open_all(&unindexed::find(folder)?);
    }
    let names = read_index(&index)?;
    let mut files: Vec<&str> = names.values().map(String::as_str).collect();
    files.sort_unstable();
    files.dedup();
    let mut paths = Vec::new();
    for file in files {
        let path = shard_path(folder, &index, file)?;
        if !files::is_there(&path) {
            let what = format!("names the shard `{file}`, which is not in the folder; download it");
            return Err(malformed(&index, what));
        }
        paths.push(path);
    }
    let (shards, tensors) = open_all(&paths)?;
    for (name, file) in &names {
        let found = tensors.get(name).map(|(shard, _)| shards[*shard].path());
        if found.and_then(Path::file_name) != Some(file.as_ref()) {
            let what = format!("says that tensor `{name}` is in `{file}`, but it is not");
            return Err(malformed(&index, what));
        }
    }
    Ok((shards, tensors))
}

fn read_index(index: &Path) -> Result<BTreeMap<String, String>, ImportError> {
    let value = files::json(index, MAX_INDEX_BYTES)?;
    let keys = Keys::new(index, &value)?;
    let map = keys
        .get("weight_map")
        .ok_or_else(|| keys.missing("weight_map"))?;
    let map = map
        .as_object()
        .ok_or_else(|| keys.bad("weight_map", map, "an object"))?;
    if map.is_empty() {
        return Err(keys.bad("weight_map", "empty", "the name of every tensor"));
    }
    let entry = |(name, file): (&String, &Value)| match file {
        Value::String(file) => Ok((name.clone(), file.clone())),
        other => Err(keys.bad("weight_map", format!("{name}: {other}"), "a file's name")),
    };
    map.iter().map(entry).collect()
}

/// A shard must be a plain file name: a path could leave the folder.
fn shard_path(folder: &Path, index: &Path, file: &str) -> Result<PathBuf, ImportError> {
    let mut parts = Path::new(file).components();
    let plain = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(part)), None) if part == file
    );
    if plain && !file.contains(['/', '\\', ':']) {
        return Ok(folder.join(file));
    }
    let what = format!("names the shard `{file}`, which is not a plain file name; refused");
    Err(malformed(index, what))
}

fn open_all(paths: &[PathBuf]) -> Result<OpenShards, ImportError> {
    let mut shards: Vec<Shard> = Vec::new();
    let mut tensors: HashMap<String, (usize, TensorEntry)> = HashMap::new();
    for path in paths {
        let (shard, entries) = Shard::open(path)?;
        for (name, entry) in entries {
            if let Some((first, _)) = tensors.get(&name) {
                let first = shards[*first].path().display();
                let what = format!("tensor `{name}` also stands in {first}");
                return Err(malformed(path, what));
            }
            tensors.insert(name, (shards.len(), entry));
        }
        shards.push(shard);
    }
    Ok((shards, tensors))
}

fn malformed(path: &Path, what: String) -> ImportError {
    ImportError::Malformed {
        path: path.to_owned(),
        what,
    }
}
