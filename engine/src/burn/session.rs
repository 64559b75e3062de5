//! The public face of this executor.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::backend::DecoderBackend;
use super::decoder::Decoder;
use crate::blob::Blob;
use crate::cpu::{Logits, PlanOptions, Traffic};
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
    decoder: Decoder<B>,
    options: PlanOptions,
    position: usize,
    logits: Vec<f32>,
}

impl<'a, B: DecoderBackend> BurnSession<'a, B> {
    /// Brings the model to `device`. [`super::DevicePlan`] says how much memory
    /// that takes.
    ///
    /// # Errors
    /// If the file misses a tensor that its manifest promises.
    pub fn new(
        blob: Blob<'a>,
        options: PlanOptions,
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        let vocab = blob.manifest().config.vocab_size as usize;
        Ok(Self {
            decoder: Decoder::load(&blob, &options, device)?,
            blob,
            options,
            position: 0,
            logits: vec![0.0; vocab],
        })
    }

    fn forward(&mut self, tokens: &[u32], logits: Logits) -> Option<Tensor<B, 2>> {
        let logits = self.decoder.forward(tokens, self.position, logits);
        self.position += tokens.len();
        logits
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
        self.check(tokens)?;
        let batch = self.options.batch.max(1) as usize;
        let last = tokens.len().div_ceil(batch);
        for (i, chunk) in tokens.chunks(batch).enumerate() {
            if i + 1 < last {
                self.forward(chunk, Logits::None);
            } else if let Some(logits) = self.forward(chunk, Logits::Last) {
                self.logits = read(logits)?;
                return Ok(&mut self.logits);
            }
        }
        Err(EngineError::NoTokens)
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
            let Some(logits) = self.forward(chunk, Logits::All) else {
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
