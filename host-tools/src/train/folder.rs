//! A trained model as a Hugging Face folder.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, SafeTensorError, TensorView};
use serde_json::{Value, json};

use super::model::ModelShape;
use super::tensors::{Tensors, Values};
use crate::support::files::write_whole;

/// What a folder holds in addition to the weights.
#[derive(Debug, Clone)]
pub struct Companions {
    /// The whole `tokenizer.json`.
    pub tokenizer: Value,
    /// The Jinja template of a conversation; none for a model of plain text.
    pub chat_template: Option<&'static str>,
    /// Ids and names of the tokens that begin and end a text.
    pub special: [(u32, &'static str); 2],
}

/// Why a folder could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A file could not be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The weights are not in the safetensors format.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafeTensorError,
    },
    /// A tensor holds other numbers than `f32`.
    #[error("{}: tensor {name} is {found:?}; training continues from F32 only", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What it holds.
        found: Dtype,
    },
}

const WEIGHTS: &str = "model.safetensors";

/// Writes everything that transformers needs to load the model.
///
/// # Errors
/// If a file cannot be written; each file is whole or as it was before.
pub fn write(
    folder: &Path,
    tensors: &Tensors,
    shape: &ModelShape,
    companions: &Companions,
) -> Result<(), FolderError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(fail(folder))?;
    let [(bos, bos_name), (eos, eos_name)] = companions.special;
    let config = shape.to_config((bos, eos));
    let mut tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos_name,
        "eos_token": eos_name,
        "clean_up_tokenization_spaces": false,
        "model_max_length": shape.max_position_embeddings,
    });
    if let Some(template) = companions.chat_template {
        tokenizer_config["chat_template"] = template.into();
    }
    let generation = json!({ "bos_token_id": bos, "eos_token_id": eos, "do_sample": false });
    let documents = [
        ("config.json", &config),
        ("generation_config.json", &generation),
        ("tokenizer.json", &companions.tokenizer),
        ("tokenizer_config.json", &tokenizer_config),
    ];
    for (name, document) in documents {
        let path = folder.join(name);
        let text = format!("{document:#}\n");
        write_whole(&path, text.as_bytes()).map_err(fail(&path))?;
    }
    let path = folder.join(WEIGHTS);
    let bytes = serialize(tensors).map_err(|source| FolderError::Format {
        path: path.clone(),
        source,
    })?;
    write_whole(&path, &bytes).map_err(fail(&path))
}

fn serialize(tensors: &Tensors) -> Result<Vec<u8>, SafeTensorError> {
    let views = tensors.iter().map(|(name, values)| {
        let bytes = bytemuck::cast_slice(&values.numbers);
        let view = TensorView::new(Dtype::F32, values.dims.clone(), bytes)?;
        Ok((name, view))
    });
    let views = views.collect::<Result<Vec<_>, SafeTensorError>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata))
}

/// Reads the weights that [`write`] wrote.
///
/// # Errors
/// If they cannot be read or are not `f32`.
pub fn read(folder: &Path) -> Result<Tensors, FolderError> {
    let path = folder.join(WEIGHTS);
    let bytes = fs::read(&path).map_err(|source| FolderError::Io {
        path: path.clone(),
        source,
    })?;
    let format = |source| FolderError::Format {
        path: path.clone(),
        source,
    };
    let file = SafeTensors::deserialize(&bytes).map_err(format)?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(FolderError::Dtype {
                path,
                name: name.to_owned(),
                found: view.dtype(),
            });
        }
        let number = |bytes: &[u8]| bytes.try_into().map_or(0.0, f32::from_le_bytes);
        let values = Values {
            dims: view.shape().to_vec(),
            numbers: view.data().chunks_exact(4).map(number).collect(),
        };
        tensors.insert(name.to_owned(), values);
    }
    Ok(tensors)
}
