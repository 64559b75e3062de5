//! The number formats of safetensors that weights are read in.

use safetensors::Dtype;

use crate::checkpoint::Encoding;

/// What error messages list.
pub(super) const SUPPORTED: &str = "F32, F16, BF16, F8_E4M3 with block scales";

/// The format that a safetensors header names, if it is one of weights.
pub(super) const fn encoding(dtype: Dtype) -> Option<Encoding> {
    match dtype {
        Dtype::F32 => Some(Encoding::F32),
        Dtype::F16 => Some(Encoding::F16),
        Dtype::BF16 => Some(Encoding::BF16),
        Dtype::F8_E4M3 => Some(Encoding::F8_E4M3),
        _ => None,
    }
}
