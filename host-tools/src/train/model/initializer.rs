//! The numbers that training starts from.

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Draws matrices: uniform numbers with a given standard deviation. The seed
/// decides all of them, on every backend.
#[derive(Debug)]
pub(super) struct Initializer<'a, B: Backend> {
    rng: Xoshiro256PlusPlus,
    bound: f32,
    pub(super) device: &'a B::Device,
}

impl<'a, B: Backend> Initializer<'a, B> {
    pub(super) fn new(seed: u64, deviation: f32, device: &'a B::Device) -> Self {
        Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            // The variance of uniform numbers in ±b is b²/3.
            bound: deviation * 3.0_f32.sqrt(),
            device,
        }
    }

    /// [out, in].
    pub(super) fn matrix(&mut self, out: usize, width: usize) -> Param<Tensor<B, 2>> {
        let range = -self.bound..self.bound;
        let draw = |_| self.rng.random_range(range.clone());
        let numbers: Vec<f32> = (0..out * width).map(draw).collect();
        let data = TensorData::new(numbers, [out, width]);
        Param::from_tensor(Tensor::from_data(data, self.device))
    }
}
