//! What the model has cost so far.

use briquette_engine::Traffic;
use briquette_protocol::Work;

use super::Device;

/// Everything spent since the device started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) prefill: Work,
    pub(super) decode: Work,
}

/// Where the meters stood before some tokens were computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    ticks: u64,
    traffic: Traffic,
}

impl<L, F> Device<'_, L, F> {
    /// Reads the meters.
    pub(super) fn start(&self) -> Start {
        Start {
            ticks: (self.board.ticks)(),
            traffic: self.session.traffic(),
        }
    }

    /// What `tokens` tokens have cost since `start`.
    pub(super) fn since(&self, start: Start, tokens: usize) -> Work {
        let traffic = self.session.traffic().since(&start.traffic);
        Work {
            tokens: tokens as u64,
            ticks: (self.board.ticks)().wrapping_sub(start.ticks),
            weight_bytes: traffic.weights,
            expert_bytes: traffic.experts,
            kv_bytes: traffic.kv,
            expert_hits: traffic.storage.hits,
            expert_misses: traffic.storage.misses,
            storage_bytes: traffic.storage.bytes,
        }
    }
}
