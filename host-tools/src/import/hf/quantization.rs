//! How weights are quantised, if they are.

use super::blocks::BlockSize;
use super::keys::Keys;
use crate::import::ImportError;

/// The blocks that FP8 weights have scales for; `None` without quantisation.
///
/// # Errors
/// If the checkpoint is quantised in any other way.
pub(super) fn block_size(keys: Keys<'_>) -> Result<Option<BlockSize>, ImportError> {
    let Some(quantization) = keys.nested("quantization_config", "quantization_config.")? else {
        return Ok(None);
    };
    require(quantization, "quant_method", None, &["fp8"])?;
    require(quantization, "fmt", Some("e4m3"), &["e4m3"])?;
    require(
        quantization,
        "activation_scheme",
        Some("dynamic"),
        &["dynamic"],
    )?;
    let key = "weight_block_size";
    let list = quantization
        .list(key)?
        .ok_or_else(|| quantization.missing(key))?;
    let sizes: Vec<u64> = list.iter().filter_map(|size| size.as_u64()).collect();
    match (sizes.as_slice(), list.len()) {
        (&[rows @ 1..=u64::MAX, cols @ 1..=u64::MAX], 2) => Ok(Some(BlockSize { rows, cols })),
        _ => {
            let found = format!("{list:?}");
            Err(quantization.bad(key, found, "two sizes of at least 1, such as [128, 128]"))
        }
    }
}

fn require(
    keys: Keys<'_>,
    key: &'static str,
    default: Option<&str>,
    supported: &[&str],
) -> Result<(), ImportError> {
    let found = keys
        .text(key)?
        .or(default)
        .ok_or_else(|| keys.missing(key))?;
    if supported.contains(&found) {
        return Ok(());
    }
    Err(ImportError::Unsupported {
        what: key,
        found: found.to_owned(),
        supported: supported.join(", "),
    })
}
