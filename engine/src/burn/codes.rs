//! Vectors as eight-bit codes.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Eight-bit codes of vectors, cut into groups of 32 that share a scale: a
/// number is `scale * code`.
#[derive(Debug, Clone)]
pub struct Codes<B: Backend, const D: usize = 3> {
    /// Whole numbers from -127 to 127, `[vectors, groups, 32]`; zeros past a
    /// vector's end.
    pub codes: Tensor<B, D>,
    /// `[vectors, groups, 1]`.
    pub scales: Tensor<B, D>,
}

impl<B: Backend, const D: usize> Codes<B, D> {
    /// The same change to both.
    #[must_use]
    pub fn map<const R: usize>(self, change: impl Fn(Tensor<B, D>) -> Tensor<B, R>) -> Codes<B, R> {
        Codes {
            codes: change(self.codes),
            scales: change(self.scales),
        }
    }
}
