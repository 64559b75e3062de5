//! The public face of this executor.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::backend::DecoderBackend;
use super::decoder::Decoder;
use crate::blob::Blob;
use crate::cpu::{Logits, PlanOptions, Traffic};
use crate::storage::BlockStorage;
use crate::{EngineError, Executor};

/// One conversation with a model in a device's memory. The calls are those of
/// [`crate::Session`].
///
/// ```no_run
/// # #[cfg(feature = "flex")]
/// # fn run(file: &[u8]) -> Result<(), briquette_engine::EngineError> {
/// use briquette_engine::Executor;
/// use briquette_engine::blob::Blob;
/// use briquette_engine::burn::BurnSession;
/// use briquette_engine::cpu::PlanOptions;
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
    decoder: Decoder<'a, B>,
    options: PlanOptions,
    position: usize,
    logits: Vec<f32>,
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
        Ok(Self {
            decoder: Decoder::load(&blob, storage, &options, device)?,
            blob,
            options,
            position: 0,
            logits: vec![0.0; vocab],
        })
    }

    fn forward(
        &mut self,
        tokens: &[u32],
        logits: Logits,
    ) -> Result<Option<Tensor<B, 2>>, EngineError> {
        let logits = self.decoder.forward(tokens, self.position, logits)?;
        self.position += tokens.len();
        Ok(logits)
    }

    /// Takes `tokens` in, a batch at a time; the logits that follow the last one
    /// stay on the device.
    fn last_logits(&mut self, tokens: &[u32]) -> Result<Tensor<B, 2>, EngineError> {
        self.check(tokens)?;
        let batch = self.options.batch.max(1) as usize;
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

    fn check(&self, tokens: &[u32]) -> Result<(), EngineError> {
        let needed = self.position as u64 + tokens.len() as u64;
        if needed > u64::from(self.options.context) {
            return Err(EngineError::ContextFull {
                context: self.options.context,
                needed,
            });
        }
        let vocab_size = self.blob.manifest().config.vocab_size;
        match tokens.iter().find(|token| **token >= vocab_size) {
            Some(token) => Err(EngineError::UnknownToken {
                token: *token,
                vocab_size,
            }),
            None => Ok(()),
        }
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
        self.decoder.traffic()
    }

    fn truncate(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<&mut [f32], EngineError> {
        self.logits = read(self.last_logits(tokens)?)?;
        Ok(&mut self.logits)
    }

    fn most_likely(&mut self, tokens: &[u32]) -> Result<u32, EngineError> {
        let best = B::most_likely(self.last_logits(tokens)?).try_into_data();
        let best = best.map_err(|_| EngineError::DeviceFailed)?;
        let best = best.iter::<i64>().next().ok_or(EngineError::DeviceFailed)?;
        match u32::try_from(best) {
            Ok(token) => Ok(token),
            Err(_) => Err(EngineError::NotANumber {
                token: (-1 - best) as u32,
            }),
        }
    }

    fn score(
        &mut self,
        tokens: &[u32],
        row: &mut [f32],
        each: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError> {
        self.check(tokens)?;
        let rows = self.options.logits.min(self.options.batch).max(1) as usize;
        let vocab = self.blob.manifest().config.vocab_size as usize;
        for (i, chunk) in tokens.chunks(rows).enumerate() {
            let Some(logits) = self.forward(chunk, Logits::All)? else {
                continue;
            };
            for (token, logits) in read(logits)?.chunks(vocab).enumerate() {
                for (out, value) in row.iter_mut().zip(logits) {
                    *out = *value;
                }
                each(i * rows + token, row);
            }
        }
        Ok(())
    }
}

/// Waits for a tensor and brings it to the host.
fn read<B: DecoderBackend>(tensor: Tensor<B, 2>) -> Result<Vec<f32>, EngineError> {
    let data = tensor
        .try_into_data()
        .map_err(|_| EngineError::DeviceFailed)?;
    data.into_vec().map_err(|_| EngineError::DeviceFailed)
}
