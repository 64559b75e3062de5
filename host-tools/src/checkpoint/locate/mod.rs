//! From the path that a person gives to the checkpoint that it means.
//!
//! A folder with `config.json` and a `.gguf` file are read as they are, the
//! root of a model in Hugging Face's cache leads to its snapshot; anything else
//! is refused, with what it is and what to do.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{ImportError, stranger};

/// Where a checkpoint lies, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointPath {
    /// A Hugging Face folder.
    Folder(PathBuf),
    /// A file that is to be read as GGUF.
    Gguf(PathBuf),
}

/// The prefix of owner and name in a folder of Hugging Face's cache.
const CACHED: &str = "models--";
const SNAPSHOTS: &str = "snapshots";

/// Finds the checkpoint that `path` means.
///
/// # Errors
/// If there is nothing there, or something that is no checkpoint.
pub fn locate(path: &Path) -> Result<CheckpointPath, ImportError> {
    let refuse = |what: String| Err(malformed(path, what));
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => refuse(nothing_there(path)),
        Err(source) => Err(ImportError::Io {
            path: path.to_owned(),
            source,
        }),
        Ok(found) if found.is_dir() => locate_in_folder(path),
        Ok(found) if found.is_file() => match not_gguf(path) {
            Some(what) => refuse(what),
            None => Ok(CheckpointPath::Gguf(path.to_owned())),
        },
        Ok(_) => refuse(
            "is neither a file nor a folder: a checkpoint is read more than once, from a \
             folder or a .gguf file on disk"
                .to_owned(),
        ),
    }
}

/// The model's name, where `folder` is a snapshot in Hugging Face's cache and
/// is itself named after a commit.
pub(super) fn cached_name(folder: &Path) -> Option<String> {
    let snapshots = folder.parent()?;
    let root = snapshots.parent()?.file_name()?.to_str()?;
    let name = root.strip_prefix(CACHED)?.rsplit("--").next()?;
    (snapshots.file_name()? == SNAPSHOTS).then(|| name.to_owned())
}

/// What is wrong with a folder that has no `config.json`, and what to do.
pub(super) fn no_config(folder: &Path) -> ImportError {
    malformed(folder, missing_config(folder))
}

/// The GGUF files of a folder, for messages.
pub(super) fn gguf_files(folder: &Path) -> Vec<String> {
    let mut names = names(folder);
    names.retain(|name| name.to_ascii_lowercase().ends_with(".gguf"));
    names
}

fn locate_in_folder(folder: &Path) -> Result<CheckpointPath, ImportError> {
    if !folder.join("config.json").exists() && folder.join(SNAPSHOTS).is_dir() {
        return snapshot(folder).map(CheckpointPath::Folder);
    }
    if !folder.join("config.json").is_file() {
        return Err(no_config(folder));
    }
    Ok(CheckpointPath::Folder(folder.to_owned()))
}

/// The snapshot that a model's root in the cache means: the one of its main
/// branch, or the only one.
fn snapshot(root: &Path) -> Result<PathBuf, ImportError> {
    let snapshots = root.join(SNAPSHOTS);
    let main = fs::read_to_string(root.join("refs").join("main")).unwrap_or_default();
    let found = names(&snapshots);
    let chosen = match found.as_slice() {
        all if all.iter().any(|name| name == main.trim()) => main.trim(),
        [only] => only,
        [] => {
            let what = "is a model's root in Hugging Face's cache, but has no snapshot: \
                        download the model again";
            return Err(malformed(root, what.to_owned()));
        }
        several => {
            let what = format!(
                "is a model's root in Hugging Face's cache with several snapshots and no \
                 refs/main that says which: give the folder of one, {}",
                list(several, |name| snapshots.join(name).display().to_string())
            );
            return Err(malformed(root, what));
        }
    };
    let folder = snapshots.join(chosen);
    if folder.join("config.json").is_file() {
        return Ok(folder);
    }
    Err(no_config(&folder))
}

fn nothing_there(path: &Path) -> String {
    if let Ok(target) = fs::read_link(path) {
        return format!(
            "is a link to {}, which is not there: the download or the copy is incomplete",
            target.display()
        );
    }
    match repository(path) {
        Some(repository) => {
            let name = repository.rsplit('/').next().unwrap_or_default();
            format!(
                "there is no such file or folder, and nothing is downloaded from here: get the \
                 model with `hf download {repository} --local-dir {name}` (formerly \
                 huggingface-cli download), then give the folder {name}"
            )
        }
        None => "there is no such file or folder".to_owned(),
    }
}

/// `owner/name`, if the path looks like a model's name on Hugging Face or its
/// address.
fn repository(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let address = ["https://", "http://"]
        .iter()
        .find_map(|s| text.strip_prefix(s));
    let text = match address {
        Some(address) => address
            .strip_prefix("huggingface.co/")
            .or(address.strip_prefix("hf.co/"))?,
        None => text,
    };
    let mut parts = Path::new(text).components();
    let (Some(Component::Normal(owner)), Some(Component::Normal(name))) =
        (parts.next(), parts.next())
    else {
        return None;
    };
    let is_file = path.extension().is_some_and(|extension| {
        ["gguf", "safetensors", "json", "bin"]
            .iter()
            .any(|known| extension == *known)
    });
    let alone = parts.next().is_none() || address.is_some();
    // The owner would be a folder here, were it a path.
    let is_name = alone && !is_file && (address.is_some() || !Path::new(owner).exists());
    is_name.then(|| format!("{}/{}", owner.to_string_lossy(), name.to_string_lossy()))
}

/// Why a file cannot be meant as GGUF, if it is something known.
fn not_gguf(path: &Path) -> Option<String> {
    let head = stranger::head(path).ok()?;
    if head.starts_with(b"GGUF") {
        return None;
    }
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    if is_part_of_folder(&name) || stranger::is_safetensors(&head) {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        return Some(format!(
            "is one file of a checkpoint: give the folder that it is in, {}",
            folder.display()
        ));
    }
    let is_pytorch = [".pt", ".pth", ".ckpt", ".bin"]
        .iter()
        .any(|ending| name.ends_with(ending));
    let is_unknown = stranger::describe(&head).is_none();
    if is_pytorch && (is_unknown || head.starts_with(b"PK")) {
        return Some(stranger::PYTORCH.to_owned());
    }
    let by_name = [
        (".onnx", "an ONNX graph"),
        (".tflite", "a TensorFlow Lite model"),
        (".mlmodel", "a Core ML model"),
        (".npz", "NumPy arrays"),
        (".msgpack", "Flax's weights"),
    ];
    let (_, what) = by_name.iter().find(|(ending, _)| name.ends_with(ending))?;
    // The content is checked where the file is opened.
    is_unknown.then(|| {
        format!(
            "is {what}, by its name, and is not read: get the model as a folder with safetensors \
             weights, or as a .gguf file"
        )
    })
}

/// Whether a file of this name is read, but as a part of its folder.
fn is_part_of_folder(name: &str) -> bool {
    let known = ["chat_template.jinja", "tokenizer.model", "merges.txt"];
    name.ends_with(".safetensors") || name.ends_with(".json") || known.contains(&name)
}

fn missing_config(folder: &Path) -> String {
    let config = folder.join("config.json");
    if let Ok(target) = fs::read_link(&config) {
        return format!(
            "its config.json is a link to {}, which is not there: the download is incomplete",
            target.display()
        );
    }
    if !folder.is_dir() {
        return match folder.exists() {
            true => "is a file: give the folder that has its config.json".to_owned(),
            false => "there is no such folder".to_owned(),
        };
    }
    instead_of_config(folder)
}

/// What a folder without `config.json` has instead, and what to do.
fn instead_of_config(folder: &Path) -> String {
    let names = names(folder);
    let has = |name: &str| names.iter().any(|found| found == name);
    let ends = |ending: &str| names.iter().any(|name| name.ends_with(ending));
    let ggufs = gguf_files(folder);
    let subfolders: Vec<&String> = names
        .iter()
        .filter(|name| folder.join(name).join("config.json").is_file())
        .collect();
    if !ggufs.is_empty() {
        let file = |name: &String| folder.join(name).display().to_string();
        return format!(
            "has no config.json, but GGUF files: give one of them, {}",
            list(&ggufs, |name| file(name))
        );
    }
    if has("adapter_config.json") {
        return "has no config.json: it is an adapter (LoRA) for another model; merge it into that \
                with peft's `merge_and_unload`, save the result, and pack that"
            .to_owned();
    }
    if has("params.json") {
        return "has no config.json but params.json: it is in Meta's or Mistral's own form; get \
                the model in Hugging Face's (its repository there, often with `-hf`)"
            .to_owned();
    }
    if names.iter().any(|name| name.starts_with(CACHED)) {
        let models: Vec<String> = names
            .into_iter()
            .filter(|n| n.starts_with(CACHED))
            .collect();
        return format!(
            "has no config.json: it is Hugging Face's cache of several models; give the folder \
             of one, {}",
            list(&models, |name| folder.join(name).display().to_string())
        );
    }
    if !subfolders.is_empty() {
        return format!(
            "has no config.json, but folders in it have one: give {}",
            list(&subfolders, |name| folder.join(name).display().to_string())
        );
    }
    if ends(".onnx") {
        return "has no config.json but an ONNX graph, which is not read: get the model as a \
                folder with safetensors weights, or as a .gguf file"
            .to_owned();
    }
    let weights = [".bin", ".pt", ".pth", ".ckpt"].into_iter().any(ends);
    if weights && !ends(".safetensors") {
        return "has no config.json, and its weights are in PyTorch's own format, which can run \
                code when it is loaded: get the model as safetensors"
            .to_owned();
    }
    "has no config.json: give the folder of a Hugging Face checkpoint, or a .gguf file".to_owned()
}

/// The names in a folder, sorted, without hidden ones; none if it cannot be read.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    names
}

/// Some of the entries, and how many more there are.
fn list<T>(entries: &[T], show: impl Fn(&T) -> String) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = entries.iter().take(SHOWN).map(show).collect();
    match entries.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} or one of {more} more", shown.join(", ")),
    }
}

fn malformed(path: &Path, what: String) -> ImportError {
    ImportError::Malformed {
        path: path.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests;
