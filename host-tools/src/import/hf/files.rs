//! Reading the small files beside the weights, never more than a limit.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::import::ImportError;

/// Limit for configurations and templates.
pub(super) const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Limit for the index of shards, whose size grows with the tensors.
pub(super) const MAX_INDEX_BYTES: u64 = 100 << 20;
/// Limit for the tokenizer with its vocabulary.
pub(super) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// The file's content.
///
/// # Errors
/// If it cannot be read or is longer than `limit`.
pub(super) fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>, ImportError> {
    let io_error = |source| ImportError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io_error)?;
    let mut content = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut content)
        .map_err(io_error)?;
    if content.len() as u64 > limit {
        let what = format!("is longer than {limit} bytes, too long for what it should be");
        return Err(malformed(path, what));
    }
    Ok(content)
}

/// The file's content as JSON.
///
/// # Errors
/// As [`bytes`], and if it is not JSON.
pub(super) fn json(path: &Path, limit: u64) -> Result<Value, ImportError> {
    let content = bytes(path, limit)?;
    serde_json::from_slice(&content).map_err(|error| malformed(path, format!("JSON: {error}")))
}

/// The file's content as text, `None` if there is no such file.
///
/// # Errors
/// As [`bytes`], and if it is not UTF-8.
pub(super) fn optional_text(path: &Path, limit: u64) -> Result<Option<String>, ImportError> {
    if !path.exists() {
        return Ok(None);
    }
    String::from_utf8(bytes(path, limit)?)
        .map(Some)
        .map_err(|error| malformed(path, format!("is not UTF-8: {error}")))
}

/// The file's content as JSON, `None` if there is no such file.
///
/// # Errors
/// As [`json`].
pub(super) fn optional_json(path: &Path, limit: u64) -> Result<Option<Value>, ImportError> {
    path.exists().then(|| json(path, limit)).transpose()
}

fn malformed(path: &Path, what: String) -> ImportError {
    ImportError::Malformed {
        path: path.to_owned(),
        what,
    }
}
