//! The public face of this executor.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::backend::{DecoderBackend, LARGEST_BATCH, Likely};
use super::decoder::Decoder;
use super::model::Model;
use crate::EngineError;
use crate::blob::Blob;
use crate::execute::{Executor, Logits, PlanOptions, Traffic, admit};
use crate::storage::BlockStorage;
use crate::text::Candidates;

/// One conversation with a model in a device's memory. The calls are those of
/// [`crate::Session`].
///
/// ```no_run
/// # #[cfg(feature = "flex")]
/// # fn run(file: &[u8]) -> Result<(), briquette_engine::EngineError> {
/// use briquette_engine::blob::Blob;
/// use briquette_engine::burn::BurnSession;
/// use briquette_engine::{Executor, PlanOptions};
///
/// let blob = Blob::open(file)?;
/// let options = PlanOptions::packed(blob.manifest());
/// let device = Default::default();
/// let mut session = BurnSession::<burn::backend::Flex>::new(blob, options, &device)?;
/// let logits = session.prefill(&[1, 2, 3])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BurnSession<'a, B: DecoderBackend> {
    blob: Blob<'a>,
    model: Model<B>,
    decoder: Decoder<'a, B>,
    options: PlanOptions,
    position: usize,
    /// What follows the last token: all logits, or the largest alone.
    logits: Vec<f32>,
    few: Few,
}

impl<'a, B: DecoderBackend> BurnSession<'a, B> {
    /// Brings the model to `device`. [`super::DevicePlan`] says how much memory
    /// that takes. With `expert_slots`, experts are brought from `blob` when
    /// tokens choose them.
    ///
    /// # Errors
    /// If the file misses a tensor that its manifest promises, or has no experts.
    pub fn new(
        blob: Blob<'a>,
        options: PlanOptions,
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        Self::open(blob, None, options, device)
    }

    /// The same with experts brought from `storage`: `blob` need not have them.
    ///
    /// # Errors
    /// As [`Self::new`]; if the storage fails or holds another file; if the plan
    /// has no slots.
    pub fn with_storage(
        blob: Blob<'a>,
        storage: &'a mut dyn BlockStorage,
        options: PlanOptions,
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        Self::open(blob, Some(storage), options, device)
    }

    fn open(
        blob: Blob<'a>,
        storage: Option<&'a mut dyn BlockStorage>,
        options: PlanOptions,
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        let vocab = blob.manifest().config.vocab_size as usize;
        let options = PlanOptions {
            batch: options.batch.clamp(1, LARGEST_BATCH),
            ..options
        };
        Ok(Self {
            decoder: Decoder::new(&blob, storage, &options, device)?,
            model: Model::load(&blob, &options, device)?,
            blob,
            options,
            position: 0,
            logits: vec![0.0; vocab],
            few: Few::default(),
        })
    }

    /// Takes `tokens` in, a batch at a time; the logits that follow the last one
    /// stay on the device.
    fn prefill_on_device(&mut self, tokens: &[u32]) -> Result<Tensor<B, 2>, EngineError> {
        self.admit(tokens)?;
        let batch = self.options.batch as usize;
        let last = tokens.len().div_ceil(batch);
        for (i, chunk) in tokens.chunks(batch).enumerate() {
            if i + 1 < last {
                self.forward(chunk, Logits::None)?;
            } else if let Some(logits) = self.forward(chunk, Logits::Last)? {
                return Ok(logits);
            }
        }
        Err(EngineError::NoTokens)
    }

    /// Runs `tokens`, at most a batch, through the whole model. Returns the logits
    /// asked for, `[tokens, vocab_size]`, which are still to be waited for.
    fn forward(
        &mut self,
        tokens: &[u32],
        logits: Logits,
    ) -> Result<Option<Tensor<B, 2>>, EngineError> {
        let (model, decoder) = (&mut self.model, &mut self.decoder);
        let step = decoder.step(model, self.position, tokens.len());
        let mut residual = decoder.embed(&model.embedding, tokens);
        for (index, layer) in model.layers.iter_mut().enumerate() {
            residual = decoder.layer(index, layer, residual, &step)?;
        }
        self.position += step.tokens;
        Ok(match logits {
            Logits::None => None,
            Logits::Last => Some(decoder.head(model, residual.narrow(0, step.tokens - 1, 1))),
            Logits::All => Some(decoder.head(model, residual)),
        })
    }

    fn admit(&self, tokens: &[u32]) -> Result<(), EngineError> {
        let vocab_size = self.blob.manifest().config.vocab_size;
        admit(
            tokens,
            self.position,
            self.options.context as usize,
            vocab_size,
        )
    }
}

impl<'a, B: DecoderBackend> Executor<'a> for BurnSession<'a, B> {
    fn blob(&self) -> &Blob<'a> {
        &self.blob
    }

    fn position(&self) -> usize {
        self.position
    }

    fn context(&self) -> usize {
        self.options.context as usize
    }

    fn traffic(&self) -> Traffic {
        self.decoder.traffic
    }

    fn truncate(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<&mut [f32], EngineError> {
        self.logits = read(self.prefill_on_device(tokens)?)?;
        Ok(&mut self.logits)
    }

    fn likeliest(&mut self, tokens: &[u32], count: usize) -> Result<Candidates<'_>, EngineError> {
        let logits = self.prefill_on_device(tokens)?;
        if let Some(chosen) = B::likeliest(&logits, count)? {
            return Ok(self.few.set(&chosen));
        }
        self.logits = read(logits)?;
        Ok(Candidates {
            tokens: None,
            logits: &mut self.logits,
        })
    }

    fn score(
        &mut self,
        tokens: &[u32],
        row: &mut [f32],
        each: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError> {
        self.score_likeliest(tokens, usize::MAX, row, &mut |token, candidates| {
            each(token, candidates.logits);
        })
    }

    fn score_likeliest(
        &mut self,
        tokens: &[u32],
        count: usize,
        row: &mut [f32],
        each: &mut dyn FnMut(usize, Candidates<'_>),
    ) -> Result<(), EngineError> {
        self.admit(tokens)?;
        let rows = self.options.logits.min(self.options.batch).max(1) as usize;
        let vocab = self.blob.manifest().config.vocab_size as usize;
        for (i, chunk) in tokens.chunks(rows).enumerate() {
            let Some(logits) = self.forward(chunk, Logits::All)? else {
                continue;
            };
            if let Some(chosen) = B::likeliest(&logits, count)? {
                for (token, chosen) in chosen.chunks(count.max(1)).enumerate() {
                    each(i * rows + token, self.few.set(chosen));
                }
                continue;
            }
            for (token, logits) in read(logits)?.chunks(vocab).enumerate() {
                for (out, value) in row.iter_mut().zip(logits) {
                    *out = *value;
                }
                let candidates = Candidates {
                    tokens: None,
                    logits: row,
                };
                each(i * rows + token, candidates);
            }
        }
        Ok(())
    }
}

/// The tokens that a device chose, in ascending order.
#[derive(Debug, Default)]
struct Few {
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

impl Few {
    fn set(&mut self, chosen: &[Likely]) -> Candidates<'_> {
        let mut chosen = chosen.to_vec();
        chosen.sort_unstable_by_key(|likely| likely.token);
        self.tokens = chosen.iter().map(|likely| likely.token).collect();
        self.logits = chosen.iter().map(|likely| likely.logit).collect();
        Candidates {
            tokens: Some(&self.tokens),
            logits: &mut self.logits,
        }
    }
}

/// Waits for a tensor and brings it to the host.
fn read<B: DecoderBackend>(tensor: Tensor<B, 2>) -> Result<Vec<f32>, EngineError> {
    let data = tensor
        .try_into_data()
        .map_err(|_| EngineError::DeviceFailed)?;
    data.into_vec().map_err(|_| EngineError::DeviceFailed)
}
