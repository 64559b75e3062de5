//! One step of gradient descent.

use std::num::NonZeroUsize;

use burn::module::Module;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig, GradientsAccumulator, GradientsParams, Optimizer};
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{ElementConversion, Tensor};

use super::model::{Model, ModelShape};
use super::sequence::{Batch, Sequence};
use super::spread::spread;

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// The cross-entropy of the completions.
    Imitate,
    /// The clipped surrogate of PPO (Schulman et al. 2017, equation 7), as
    /// GRPO uses it (DeepSeekMath, equation 3), without the divergence from a
    /// reference model; the mean is over tokens.
    Reinforce {
        /// How far a token's probability may move from the sampled one's.
        clip: f32,
    },
}

/// How a step is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOptions {
    /// What is minimised.
    pub objective: Objective,
    /// Learning rate.
    pub rate: f64,
    /// Step of the routers' biases.
    pub balance: f32,
    /// Sequences that are computed at a time; decides the order of summation,
    /// whatever the number of threads.
    pub microbatch: usize,
    /// Threads to work with.
    pub threads: NonZeroUsize,
}

/// What a step saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepReport {
    /// The objective before the step.
    pub loss: f32,
    /// Tokens learnt from.
    pub targets: usize,
    /// Largest over mean expert load, of the worst layer.
    pub imbalance: f32,
    /// Mean over tokens of |probability now / probability when sampled − 1|;
    /// 0 when imitating.
    pub ratio_error: f32,
}

/// Training diverged: the weights are useless from here on.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the loss is {loss}: training has diverged; try a lower learning rate")]
pub struct Diverged {
    /// What the loss became.
    pub loss: f32,
}

/// A model and the state of its optimiser.
#[derive(Clone)]
pub struct Learner<B: AutodiffBackend> {
    /// The model as it is now.
    pub model: Model<B>,
    pub(super) optimizer: OptimizerAdaptor<AdamW, Model<B>, B>,
    shape: ModelShape,
    device: B::Device,
}

/// The result of one microbatch.
struct Part<B: AutodiffBackend> {
    gradients: GradientsParams,
    loss: f32,
    ratio_error: f32,
    /// For each layer with experts, the tokens of each.
    loads: Vec<Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> Learner<B> {
    /// Starts an optimiser (AdamW, Loshchilov and Hutter 2019) at `model`.
    pub fn new(model: Model<B>, shape: ModelShape, device: B::Device) -> Self {
        let config = AdamWConfig::new()
            .with_beta_2(0.99)
            .with_epsilon(1e-8)
            .with_weight_decay(0.01);
        Self {
            model,
            optimizer: config.init(),
            shape,
            device,
        }
    }

    /// The model's dimensions.
    pub const fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// The device that holds it.
    pub const fn device(&self) -> &B::Device {
        &self.device
    }

    /// Makes one step on `sequences`.
    ///
    /// # Errors
    /// If the loss is not a finite number; the model is then as it was.
    pub fn step(
        &mut self,
        sequences: &[Sequence],
        options: &StepOptions,
    ) -> Result<StepReport, Diverged> {
        let targets: usize = sequences.iter().map(Sequence::targets).sum();
        let parts = self.parts(sequences, options, targets.max(1) as f32);
        let mut report = StepReport {
            targets,
            ..StepReport::default()
        };
        let mut accumulator = GradientsAccumulator::new();
        let mut loads: Vec<Tensor<B::InnerBackend, 1>> = Vec::new();
        for part in parts {
            report.loss += part.loss;
            report.ratio_error += part.ratio_error;
            accumulator.accumulate(&self.model, part.gradients);
            loads = if loads.is_empty() {
                part.loads
            } else {
                let pairs = loads.into_iter().zip(part.loads);
                pairs.map(|(sum, more)| sum + more).collect()
            };
        }
        if !report.loss.is_finite() {
            return Err(Diverged { loss: report.loss });
        }
        report.imbalance = loads.iter().map(imbalance).fold(0.0, f32::max);
        let gradients = accumulator.grads();
        let model = self.model.clone();
        let model = self.optimizer.step(options.rate, model, gradients);
        let loads = loads.into_iter().map(Tensor::from_inner).collect();
        self.model = model.balance(loads, options.balance);
        Ok(report)
    }

    /// The microbatches' gradients, in order.
    fn parts(&self, sequences: &[Sequence], options: &StepOptions, targets: f32) -> Vec<Part<B>> {
        let batches: Vec<&[Sequence]> = sequences.chunks(options.microbatch.max(1)).collect();
        spread(options.threads, batches.len(), |mine| {
            // A graph of its own: threads that shared one would wait for
            // each other.
            let model = self.model.clone().fork(&self.device);
            let part = |index: usize| {
                let batch = batches[index];
                self.part(&model, batch, options.objective, targets)
            };
            mine.map(part).collect()
        })
    }

    fn part(
        &self,
        model: &Model<B>,
        sequences: &[Sequence],
        objective: Objective,
        targets: f32,
    ) -> Part<B> {
        let batch = Batch::<B>::new(sequences, &self.device);
        let output = model.forward(batch.inputs, &self.shape);
        let log_probs = log_softmax(output.logits, 1).gather(1, batch.targets);
        let log_probs: Tensor<B, 1> = log_probs.squeeze_dim(1);
        let (gain, ratio_error) = match objective {
            Objective::Imitate => (log_probs, 0.0),
            Objective::Reinforce { clip } => {
                let ratio = (log_probs - batch.old_log_probs).exp();
                let error = ratio.clone().detach().sub_scalar(1.0).abs();
                let error = (error * batch.learnt.clone()).sum().div_scalar(targets);
                let clipped = ratio.clone().clamp(1.0 - clip, 1.0 + clip);
                let gain = (ratio * batch.advantages.clone()).min_pair(clipped * batch.advantages);
                (gain, error.into_scalar().elem())
            }
        };
        let loss = (gain * batch.learnt).sum().div_scalar(-targets);
        let present = batch.present.unsqueeze_dim::<2>(1);
        let load = |chosen: Tensor<B, 2>| {
            let load = (chosen * present.clone()).sum_dim(0);
            load.squeeze_dim::<1>(0).inner()
        };
        let loads = output.choices.into_iter().map(load).collect();
        let value = loss.clone().into_scalar().elem();
        Part {
            gradients: GradientsParams::from_grads(loss.backward(), model),
            loss: value,
            ratio_error,
            loads,
        }
    }
}

/// Largest over mean load.
fn imbalance<B: burn::tensor::backend::Backend>(load: &Tensor<B, 1>) -> f32 {
    let largest: f32 = load.clone().max().into_scalar().elem();
    let mean: f32 = load.clone().mean().into_scalar().elem();
    largest / mean.max(f32::MIN_POSITIVE)
}
