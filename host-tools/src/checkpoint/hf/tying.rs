//! Whether the head is the embedding, by what the files have.

use std::ops::Range;

use briquette_engine::blob::ModelConfig;

use super::names::{EMBEDDING, HEAD};
use super::store::SafetensorsStore;
use crate::checkpoint::{ImportError, Rows, TensorStore};

/// Numbers that are compared at a time.
const CHUNK: u64 = 1 << 18;

/// Settles `tie_word_embeddings` as transformers 5 does, and returns the name
/// of the tensor that the embedding is stored as.
///
/// Where the configuration ties the two and only the head is stored, that is
/// the embedding too. Where both are stored and differ, the configuration is
/// wrong, and they are not tied.
///
/// # Errors
/// If the two have to be compared and cannot be read.
pub(super) fn settle(
    config: &mut ModelConfig,
    store: &mut SafetensorsStore,
) -> Result<&'static str, ImportError> {
    if !config.tie_word_embeddings {
        return Ok(EMBEDDING);
    }
    match (store.contains(EMBEDDING), store.contains(HEAD)) {
        (false, true) => return Ok(HEAD),
        (true, true) if !are_equal(store)? => {
            tracing::warn!(
                "config.json says tie_word_embeddings, but `{HEAD}` and `{EMBEDDING}` differ: \
                 they are not tied, as in transformers 5"
            );
            config.tie_word_embeddings = false;
        }
        _ => {}
    }
    Ok(EMBEDDING)
}

fn are_equal(store: &mut SafetensorsStore) -> Result<bool, ImportError> {
    let (Some(embedding), Some(head)) = (store.find(EMBEDDING), store.find(HEAD)) else {
        return Ok(false);
    };
    let [rows, cols] = embedding.shape[..] else {
        return Ok(false);
    };
    if head.shape != embedding.shape {
        return Ok(false);
    }
    let step = (CHUNK / cols.max(1)).max(1);
    let (mut ours, mut theirs) = (Rows::default(), Rows::default());
    let mut first = 0;
    while first < rows {
        let part: Range<u64> = first..rows.min(first + step);
        store.read_rows(EMBEDDING, part.clone(), &mut ours)?;
        store.read_rows(HEAD, part, &mut theirs)?;
        if ours.values != theirs.values {
            return Ok(false);
        }
        first += step;
    }
    Ok(true)
}
