//! Checkpoints with what the reference implementation computes for them.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

/// One folder of `tests/golden/`.
#[derive(Debug)]
pub struct Golden {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// What the reference computes.
    pub prompts: Vec<Prompt>,
}

/// One prompt of a reference.
#[derive(Debug)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Logits after each of them: `[ids, vocabulary]`.
    pub logits: Vec<f32>,
    /// The greedy continuation.
    pub greedy: Vec<u32>,
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// SmolLM2-135M-Instruct, which `demo` fetches.
pub fn smollm2() -> PathBuf {
    let path = repository().join("models/cache/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(
        path.is_file(),
        "the checkpoint is missing; fetch it with: cargo run --release -- demo smollm2 --fetch-only"
    );
    path
}

/// All checkpoints with a reference, by name.
pub fn golden_folders() -> Vec<Golden> {
    let root = repository().join("tests/golden");
    let entries = std::fs::read_dir(&root).expect("tests/golden is part of the repository");
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.join("config.json").is_file())
        .collect();
    folders.sort();
    assert!(folders.len() >= 5, "golden checkpoints are missing");
    folders.into_iter().map(Golden::open).collect()
}

impl Golden {
    /// Reads a folder's reference. A folder of the same weights in another
    /// form has none of its own and uses its sibling's.
    pub fn open(folder: PathBuf) -> Self {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut file = folder.join("reference.safetensors");
        if !file.is_file() {
            let sibling = name.trim_end_matches("-fused");
            file = folder.with_file_name(sibling).join("reference.safetensors");
        }
        let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let mut prompts = Vec::new();
        while let Ok(ids) = tensors.tensor(&format!("ids_{}", prompts.len())) {
            let i = prompts.len();
            let data = |what: &str| tensors.tensor(&format!("{what}_{i}")).unwrap();
            prompts.push(Prompt {
                ids: tokens(ids.data()),
                logits: data("logits")
                    .data()
                    .as_chunks()
                    .0
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .collect(),
                greedy: tokens(data("greedy").data()),
            });
        }
        assert!(!prompts.is_empty(), "{name}: an empty reference");
        Self {
            name,
            folder,
            prompts,
        }
    }
}

fn tokens(bytes: &[u8]) -> Vec<u32> {
    let numbers = bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b));
    numbers.map(|id| u32::try_from(id).unwrap()).collect()
}
