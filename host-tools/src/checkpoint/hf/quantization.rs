//! How weights are quantised, if they are.

use super::blocks::BlockSize;
use super::keys::Keys;
use crate::checkpoint::ImportError;

/// What to do about weights in a form that is not read.
const ADVICE: &str =
    "pack the original checkpoint, which --weights quantises, or a GGUF file of it";

/// The blocks that FP8 weights have scales for; `None` without quantisation.
///
/// # Errors
/// If the checkpoint is quantised in any other way.
pub(super) fn block_size(keys: Keys<'_>) -> Result<Option<BlockSize>, ImportError> {
    refuse_other_keys(keys)?;
    let Some(quantization) = keys.nested("quantization_config", "quantization_config.")? else {
        return Ok(None);
    };
    // bitsandbytes once wrote its options alone.
    let is_bitsandbytes = ["load_in_4bit", "load_in_8bit"]
        .into_iter()
        .any(|key| quantization.get(key).is_some());
    let method = quantization
        .text("quant_method")?
        .or(is_bitsandbytes.then_some("bitsandbytes"))
        .ok_or_else(|| quantization.missing("quant_method"))?;
    if method != "fp8" {
        let found = format!("`{method}`: weights quantised in this way are not read");
        return Err(quantization.bad("quant_method", found, format!("fp8; {ADVICE}")));
    }
    require(quantization, "fmt", Some("e4m3"), &["e4m3"])?;
    require(
        quantization,
        "activation_scheme",
        Some("dynamic"),
        &["dynamic"],
    )?;
    let key = "weight_block_size";
    let Some(list) = quantization.list(key)? else {
        let found = "absent: FP8 weights with one scale for each tensor or row are not read";
        return Err(quantization.bad(key, found, format!("two sizes; {ADVICE}")));
    };
    let sizes: Vec<u64> = list.iter().filter_map(|size| size.as_u64()).collect();
    match (sizes.as_slice(), list.len()) {
        (&[rows @ 1..=u64::MAX, cols @ 1..=u64::MAX], 2) => Ok(Some(BlockSize { rows, cols })),
        _ => {
            let found = format!("{list:?}");
            Err(quantization.bad(key, found, "two sizes of at least 1, such as [128, 128]"))
        }
    }
}

/// MLX writes `quantization`, often beside a copy of it under the usual key;
/// compressed-tensors once wrote `compression_config`.
fn refuse_other_keys(keys: Keys<'_>) -> Result<(), ImportError> {
    for (key, program) in [
        ("quantization", "MLX"),
        ("compression_config", "compressed-tensors"),
    ] {
        if keys
            .get(key)
            .is_some_and(|value| value.as_object().is_some_and(|o| !o.is_empty()))
        {
            let found = format!("there: weights quantised by {program} are not read");
            return Err(keys.bad(key, found, format!("no such key; {ADVICE}")));
        }
    }
    Ok(())
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
