//! Where each canonical tensor lies in a checkpoint.

use briquette_engine::blob::Role;

/// Names one canonical tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorId {
    /// What the tensor is for.
    pub role: Role,
    /// The layer, 0 for the model's own tensors.
    pub layer: u32,
}

/// How the stored rows become the canonical rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// As they stand.
    Direct,
    /// RoPE pairs stand side by side in the checkpoint, `(2i, 2i + 1)`; the
    /// engine wants them split in halves, `(i, i + rope_rows / 2)`. In every
    /// head of `head_rows` rows the last `rope_rows` are reordered: even ones
    /// first, then odd ones.
    SplitRopePairs {
        /// Rows of one head.
        head_rows: u32,
        /// Rows of these, at the end, that RoPE rotates.
        rope_rows: u32,
    },
    /// The stored matrix `[cols, rows]` is the transpose of the canonical one.
    Transposed,
}

/// Where one canonical matrix (one expert's, one head's) or vector comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The stored tensor's name.
    pub tensor: String,
    /// The stored tensor's whole shape, to be checked before reading.
    pub shape: Vec<u64>,
    /// The first stored row that belongs to this matrix.
    pub first_row: u64,
    /// How stored rows become canonical rows.
    pub transform: Transform,
}

/// How a stored tensor that no canonical one is made of may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// It changes nothing: it is derived from the configuration, repeats
    /// another tensor, or belongs to a layer that is not asked for.
    Silently,
    /// It changes nothing that the briquette computes, but people are told: it
    /// belongs to this.
    Saying(&'static str),
}

/// An importer's knowledge of tensor names.
///
/// A vector is one row: a stored `[n]` tensor counts as one row of `n`, and
/// [`Transform::SplitRopePairs`] then reorders its elements.
pub trait Mapping {
    /// Where matrix number `index` (an expert, a head, else 0) of tensor `id`
    /// lies. Only asked for tensors that the model's configuration has, never
    /// for [`Role::RopeInverseFrequency`].
    fn location(&self, id: TensorId, index: u32) -> Location;

    /// The names of tensors that the layer for multi-token prediction, number
    /// `layer`, may repeat although it shares them with the model, and what they
    /// are for.
    fn mtp_copies(&self, _layer: u32) -> Vec<(Role, String)> {
        Vec::new()
    }

    /// How the stored tensor `name`, which no location names, may be left out of a
    /// model of `layers` layers, that for multi-token prediction included;
    /// `None`: leaving it out would change the result.
    fn left_out(&self, _name: &str, _layers: u32) -> Option<LeftOut> {
        None
    }
}
