//! What has been read, in bytes.

/// Bytes of the file and of the cache that a call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Weights read, each once for a whole batch.
    pub weights: u64,
    /// Of these, weights of routed experts.
    pub experts: u64,
    /// Cached rows visible to the tokens of the call, plus the rows written.
    pub kv: u64,
    /// Experts fetched from storage.
    pub storage: StorageTraffic,
}

impl Traffic {
    /// What has come on top of `before`.
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            weights: self.weights.wrapping_sub(before.weights),
            experts: self.experts.wrapping_sub(before.experts),
            kv: self.kv.wrapping_sub(before.kv),
            storage: self.storage.since(&before.storage),
        }
    }
}

/// What fetching experts from storage has cost; nothing if they are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StorageTraffic {
    /// Times that an expert was in its slot.
    pub hits: u64,
    /// Times that it was read.
    pub misses: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl StorageTraffic {
    /// What has come on top of `before`.
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            hits: self.hits.wrapping_sub(before.hits),
            misses: self.misses.wrapping_sub(before.misses),
            bytes: self.bytes.wrapping_sub(before.bytes),
        }
    }

    /// The sum of both.
    #[cfg(feature = "_burn")]
    pub(crate) const fn plus(&self, other: &Self) -> Self {
        Self {
            hits: self.hits.wrapping_add(other.hits),
            misses: self.misses.wrapping_add(other.misses),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }
}
