//! Weights in a folder that has neither `model.safetensors` nor an index: their
//! names tell which files they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::checkpoint::{ImportError, locate};

/// The files of a model whose name is followed by these words are other things:
/// an adapter, or the same weights in another form.
const OTHERS: [&str; 3] = ["adapter_model", "consolidated", "optimizer"];

/// Shards of one model, `NAME-00001-of-00003.safetensors`.
#[derive(Debug, Default)]
struct Shards {
    files: BTreeMap<u32, String>,
}

/// The files that hold the weights of `folder`.
///
/// # Errors
/// If there are none, or shards are missing.
pub(super) fn find(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let mut names = locate::names(folder);
    names.retain(|name| {
        let is_other = OTHERS.iter().any(|other| name.starts_with(other));
        name.ends_with(".safetensors") && !is_other
    });
    if names.is_empty() {
        return Err(malformed(folder, no_weights(folder)));
    }
    let mut groups: BTreeMap<(&str, u32), Shards> = BTreeMap::new();
    for name in &names {
        if let Some((model, number, count)) = shard(name) {
            let group = groups.entry((model, count)).or_default();
            group.files.insert(number, name.clone());
        }
    }
    for ((model, count), shards) in &groups {
        let absent = |number: &u32| !shards.files.contains_key(number);
        let missing: Vec<String> = (1..=*count)
            .filter(absent)
            .take(4)
            .map(|number| format!("`{model}-{number:05}-of-{count:05}.safetensors`"))
            .collect();
        if !missing.is_empty() {
            let what = format!(
                "has {} of {count} shards; download what is missing: {}",
                shards.files.len(),
                missing.join(", ")
            );
            return Err(malformed(folder, what));
        }
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// Model, number and count of a shard's name.
fn shard(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    let (model, number) = rest.rsplit_once('-')?;
    // More shards than any model has would only make a long list of missing ones.
    let count = count.parse().ok().filter(|count| *count <= 1 << 16)?;
    Some((model, number.parse().ok()?, count))
}

/// The error for a folder without weights that can be read.
fn no_weights(folder: &Path) -> String {
    const SINGLE: &str = "model.safetensors";
    let names = locate::names(folder);
    let starts = |start: &str| names.iter().any(|name| name.starts_with(start));
    let ends = |ending: &str| names.iter().any(|name| name.ends_with(ending));
    if let Some(gguf) = locate::gguf_files(folder).first() {
        return format!(
            "has no safetensors weights but GGUF files: give the file, {}",
            folder.join(gguf).display()
        );
    }
    if starts("adapter_model") {
        return "has only an adapter (LoRA) for another model: merge it into that with peft's \
                `merge_and_unload`, save the result, and pack that"
            .to_owned();
    }
    if starts("consolidated") {
        return "has its weights only in Meta's or Mistral's own form (`consolidated…`): get the \
                model in Hugging Face's form, or convert it with transformers"
            .to_owned();
    }
    if [".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"]
        .into_iter()
        .any(ends)
    {
        return "has its weights only as PyTorch's .bin, .pt, .pth or .ckpt files, which can run \
                code when they are loaded and are not read: save them as safetensors with \
                transformers, `AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW)`"
            .to_owned();
    }
    for (ending, what) in [
        (".onnx", "an ONNX graph"),
        (".h5", "TensorFlow's .h5 file"),
        (".msgpack", "Flax's .msgpack file"),
    ] {
        if ends(ending) {
            return format!("has its weights only as {what}, which is not read: get `{SINGLE}`");
        }
    }
    format!(
        "has neither `{SINGLE}` nor `{SINGLE}.index.json` nor other .safetensors files; is the \
         download complete?"
    )
}

fn malformed(path: &Path, what: String) -> ImportError {
    ImportError::Malformed {
        path: path.to_owned(),
        what,
    }
}
