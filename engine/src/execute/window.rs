//! How far back a layer sees.

use crate::blob::Blob;

/// Tokens that each token sees in layer `layer`, its own included.
pub(crate) fn window(blob: &Blob<'_>, layer: usize) -> usize {
    match blob.manifest().config.sliding_window {
        Some(window) if blob.layer_kind(layer).is_sliding() => window as usize,
        _ => usize::MAX,
    }
}
