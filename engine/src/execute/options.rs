//! What a session is to hold, and what a call is to compute.

use crate::EngineError;
use crate::blob::Manifest;
use crate::quant::KvFormat;

/// What a session is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// Tokens that the cache holds.
    pub context: u32,
    /// Tokens that prefill takes at a time.
    pub batch: u32,
    /// Tokens of a batch whose logits are kept: 1 to generate text, `batch` to
    /// score every token.
    pub logits: u32,
    /// Number format of the cache.
    pub kv: KvFormat,
    /// Experts that are kept in memory if they are read from storage; 0: they
    /// are read in place. Each layer with experts has its share of the slots.
    pub expert_slots: u32,
    /// Room for the layer for multi-token prediction, which drafts tokens
    /// ([`Session::draft`](crate::Session::draft)).
    pub mtp: bool,
}

impl PlanOptions {
    /// What the file was packed for, to be read in place.
    pub const fn packed(manifest: &Manifest<'_>) -> Self {
        Self {
            context: manifest.memory.context,
            batch: manifest.memory.batch,
            logits: 1,
            kv: manifest.kv,
            expert_slots: 0,
            mtp: false,
        }
    }

    /// Checks that there is room for something.
    ///
    /// # Errors
    /// [`EngineError::EmptyPlan`] if context, batch or logits are 0.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        for (field, value) in [
            ("context", self.context),
            ("batch", self.batch),
            ("logits", self.logits),
        ] {
            if value == 0 {
                return Err(EngineError::EmptyPlan { field });
            }
        }
        Ok(())
    }
}

/// Which tokens' logits to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logits {
    /// None: the tokens only fill the cache.
    None,
    /// The last token's.
    Last,
    /// Every token's; the plan must have room for them.
    All,
}
