//! Opening a briquette in place.

use sha2::{Digest, Sha256};

use super::header::{self, HEADER_LEN, Header};
use super::record::expert_gates;
use super::{BlobError, Contents, LayerKind, Manifest, Role, TensorRecord};
use crate::quant::Matrix;
use crate::text::{Stops, Tokenizer};

/// A checked briquette. Accessors cannot fail: what the checks at opening
/// guarantee is not checked again, and whatever they do not guarantee is an `Option`.
#[derive(Debug, Clone)]
pub struct Blob<'a> {
    file: &'a [u8],
    header: Header,
    manifest: Manifest<'a>,
    payload: &'a [u8],
    tokenizer: &'a [u8],
    /// Entries of the table before the first layer, of a dense layer, of a layer
    /// with experts and of the layer for multi-token prediction.
    entries: [usize; 4],
    /// Bytes of experts missing from `payload`: those of all, or 0 if it is whole.
    left_out: u64,
}

/// The address of a briquette must be a multiple of this.
const ADDRESS_ALIGNMENT: usize = align_of::<f32>();

impl<'a> Blob<'a> {
    /// Checks everything but the payload's bytes: O(manifest), no allocation.
    /// The address of `file` must be a multiple of 4.
    ///
    /// # Errors
    /// The first thing that is wrong. Any bytes may be handed in.
    pub fn open(file: &'a [u8]) -> Result<Self, BlobError> {
        let (header, manifest) = Header::decode(file)?;
        Self::new(file, Contents::new(header, manifest)?, 0)
    }

    /// Opens a file from which the experts were cut out: all that comes before
    /// a layer's experts is followed by what comes after them, the trailer
    /// included. [`crate::storage::load`] makes one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_without_experts(file: &'a [u8]) -> Result<Self, BlobError> {
        let header = Header::decode_fields(file)?;
        let contents = Contents::new(header, header.manifest(file)?)?;
        let left_out = contents.manifest.expert_sizes().bytes;
        header.check_length((file.len() as u64).saturating_add(left_out))?;
        Self::new(file, contents, left_out)
    }

    fn new(file: &'a [u8], contents: Contents<'a>, left_out: u64) -> Result<Self, BlobError> {
        let Contents {
            header,
            manifest,
            tensors_end,
        } = contents;
        if !file.as_ptr().addr().is_multiple_of(ADDRESS_ALIGNMENT) {
            return Err(BlobError::Misaligned {
                needed: ADDRESS_ALIGNMENT,
            });
        }
        let payload_len = header.payload_len.saturating_sub(left_out);
        let payload = range(file, header.payload_offset, payload_len)?;
        let tokenizer_at = tensors_end.saturating_sub(left_out);
        let tokenizer = range(payload, tokenizer_at, manifest.tokenizer_len)?;
        let entries = [
            table_entries(&manifest, None),
            table_entries(&manifest, Some(LayerKind(0))),
            table_entries(&manifest, Some(LayerKind(LayerKind::MOE))),
            manifest.mtp_layer().map_or(0, |layer| {
                let kind = manifest.layers.get(layer).copied().unwrap_or(0);
                table_entries(&manifest, Some(LayerKind(kind)))
            }),
        ];
        Ok(Self {
            file,
            header,
            manifest,
            payload,
            tokenizer,
            entries,
            left_out,
        })
    }

    /// What the file says about itself.
    pub const fn manifest(&self) -> &Manifest<'a> {
        &self.manifest
    }

    /// The whole file's bytes, or those of a file without its experts.
    pub const fn bytes(&self) -> &'a [u8] {
        self.file
    }

    /// Bytes of the whole file, the experts included wherever they are.
    pub const fn file_bytes(&self) -> u64 {
        self.file.len() as u64 + self.left_out
    }

    /// Bytes of the file without its experts: header, manifest, all other
    /// tensors, the tokenizer's section and the trailer. This is the
    /// memory that [`storage::load`](crate::storage::load) takes, besides the
    /// arena, where the file cannot be read in place.
    ///
    /// Not [`MemoryContract::resident_bytes`](super::MemoryContract), the
    /// payload's length, experts included, which has to stay readable.
    pub fn loaded_bytes(&self) -> u64 {
        self.file_bytes() - self.manifest.expert_sizes().bytes
    }

    /// Whether the experts are not among [`Self::bytes`].
    pub(crate) const fn lacks_experts(&self) -> bool {
        self.left_out > 0
    }

    /// SHA-256 of header, manifest and the payload's digest, as recorded in the
    /// trailer: it identifies this briquette.
    pub fn digest(&self) -> [u8; 32] {
        self.file.last_chunk().copied().unwrap_or_default()
    }

    /// All weights and the tokenizer's section.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Where the payload starts in the file.
    pub const fn payload_offset(&self) -> u64 {
        self.header.payload_offset
    }

    /// The tokenizer's section; empty without one.
    pub const fn tokenizer_section(&self) -> &'a [u8] {
        self.tokenizer
    }

    /// The tokens at which an answer ends, where `tokenizer` is this briquette's.
    pub fn stops(&self, tokenizer: &Tokenizer<'a>) -> Stops<'a> {
        Stops::new(&self.manifest.stop_tokens, tokenizer)
    }

    /// What layer `layer` is made of.
    pub(crate) fn layer_kind(&self, layer: usize) -> LayerKind {
        LayerKind(self.manifest.layers.get(layer).copied().unwrap_or(0))
    }

    /// How many of the layers before layer `end` have experts.
    pub fn moe_layers(&self, end: usize) -> usize {
        let layers = self.manifest.layers.iter().take(end);
        layers.filter(|kind| LayerKind(**kind).is_moe()).count()
    }

    /// The tensors of the whole model.
    pub fn model_tensors(&self) -> Tensors<'a> {
        self.tensors(0, self.entries[0])
    }

    /// The tensors of layer `layer`.
    pub fn layer_tensors(&self, layer: usize) -> Tensors<'a> {
        let before = layer.min(self.manifest.layers.len());
        let moe_before = self.moe_layers(before);
        let [model, dense, moe, mtp] = self.entries;
        let start = model + (before - moe_before) * dense + moe_before * moe;
        let kind = self.layer_kind(layer);
        let count = match (kind.is_mtp(), kind.is_moe()) {
            (true, _) => mtp,
            (false, true) => moe,
            (false, false) => dense,
        };
        self.tensors(start, count)
    }

    /// Reads the whole payload and compares all digests.
    ///
    /// # Errors
    /// [`BlobError::PayloadChecksum`] or [`BlobError::FileDigest`];
    /// [`BlobError::WithoutExperts`] if the file is not whole.
    pub fn verify(&self) -> Result<(), BlobError> {
        if self.lacks_experts() {
            return Err(BlobError::WithoutExperts);
        }
        let trailer_at = self.header.trailer_offset().unwrap_or(u64::MAX);
        let expected = range(self.file, trailer_at, header::TRAILER_LEN as u64)?;
        let payload_digest: [u8; 32] = Sha256::digest(self.payload).into();
        if expected.get(..32) != Some(&payload_digest) {
            return Err(BlobError::PayloadChecksum);
        }
        let (head, rest) = self
            .file
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(BlobError::BadMagic)?;
        let manifest = range(rest, 0, u64::from(self.header.manifest_len))?;
        if header::trailer(head, manifest, payload_digest) != *expected {
            return Err(BlobError::FileDigest);
        }
        Ok(())
    }

    fn tensors(&self, start: usize, count: usize) -> Tensors<'a> {
        let table = self.manifest.tensors;
        let (start, end) = (
            start * TensorRecord::BYTES,
            (start + count) * TensorRecord::BYTES,
        );
        let left_out = self.lacks_experts().then(|| {
            let before = table.get(..start).unwrap_or_default();
            expert_gates(before).map(|gate| gate.experts_bytes()).sum()
        });
        Tensors {
            records: table.get(start..end).unwrap_or_default(),
            payload: self.payload,
            left_out,
        }
    }
}

/// The tensors of one layer or of the model, taken in file order.
#[derive(Debug, Clone)]
pub struct Tensors<'a> {
    records: &'a [u8],
    payload: &'a [u8],
    /// In a file without experts: bytes of those that would come before.
    left_out: Option<u64>,
}

impl<'a> Tensors<'a> {
    /// The next tensor, if it is `role`; otherwise stays where it is.
    pub fn take(&mut self, role: Role) -> Option<Tensor<'a>> {
        let (record, rest) = self.records.split_first_chunk()?;
        let record = TensorRecord::decode(record)?;
        if record.role != role {
            return None;
        }
        self.records = rest;
        let payload = match self.left_out {
            Some(_) if role.is_expert() => &[],
            _ => self.payload,
        };
        Some(Tensor {
            record,
            payload,
            left_out: self.left_out.unwrap_or(0),
        })
    }
}

impl<'a> Iterator for Tensors<'a> {
    type Item = Tensor<'a>;

    fn next(&mut self) -> Option<Tensor<'a>> {
        let (record, _) = self.records.split_first_chunk()?;
        self.take(TensorRecord::decode(record)?.role)
    }
}

/// One tensor of the payload.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    record: TensorRecord,
    payload: &'a [u8],
    /// Bytes before this tensor that are missing from `payload`.
    left_out: u64,
}

impl<'a> Tensor<'a> {
    /// A tensor alone in its payload.
    #[cfg(all(test, feature = "wgpu"))]
    pub(crate) const fn alone(record: TensorRecord, payload: &'a [u8]) -> Self {
        Self {
            record,
            payload,
            left_out: 0,
        }
    }

    /// Its entry in the table.
    pub const fn record(&self) -> &TensorRecord {
        &self.record
    }

    /// Matrix number `index` (an expert, a head, else 0). `None` for experts that
    /// were left out of the file: these are read from storage.
    pub fn matrix(&self, index: usize) -> Option<Matrix<'a>> {
        let TensorRecord {
            format, rows, cols, ..
        } = self.record;
        if index as u64 >= u64::from(self.record.count) || self.record.role.is_vector() {
            return None;
        }
        let start = self
            .record
            .stride
            .checked_mul(index as u64)?
            .checked_add(self.record.offset)?
            .checked_sub(self.left_out)?;
        let bytes = range(self.payload, start, format.matrix_bytes(rows, cols)).ok()?;
        Matrix::new(format, rows, cols, bytes)
    }

    /// The matrix in `expert`, the bytes of one whole expert, of whose tensors
    /// `gate` is the first.
    pub(crate) fn matrix_in<'e>(&self, expert: &'e [u8], gate: &Tensor<'_>) -> Option<Matrix<'e>> {
        let TensorRecord {
            format, rows, cols, ..
        } = self.record;
        let start = self.record.offset.checked_sub(gate.record.offset)?;
        let bytes = range(expert, start, format.matrix_bytes(rows, cols)).ok()?;
        Matrix::new(format, rows, cols, bytes)
    }

    /// The numbers of a vector; empty for a matrix.
    pub fn vector(&self) -> &'a [f32] {
        if !self.record.role.is_vector() {
            return &[];
        }
        let len = u64::from(self.record.cols) * 4;
        let start = self.record.offset.checked_sub(self.left_out);
        start
            .and_then(|start| range(self.payload, start, len).ok())
            .and_then(|bytes| bytemuck::try_cast_slice(bytes).ok())
            .unwrap_or_default()
    }
}

fn table_entries(manifest: &Manifest<'_>, kind: Option<LayerKind>) -> usize {
    let roles: &[Role] = if kind.is_some() {
        &Role::LAYER
    } else {
        &Role::MODEL
    };
    let kind = kind.unwrap_or_default();
    let present = roles
        .iter()
        .filter(|role| manifest.config.shape(**role, kind).is_some());
    present.count()
}

/// `bytes[start..start + len]` with 64-bit arithmetic.
fn range(bytes: &[u8], start: u64, len: u64) -> Result<&[u8], BlobError> {
    let end = start.saturating_add(len);
    let too_large = |bytes| BlobError::TooLarge { bytes };
    let from = usize::try_from(start).map_err(|_| too_large(start))?;
    let to = usize::try_from(end).map_err(|_| too_large(end))?;
    bytes.get(from..to).ok_or(BlobError::Truncated {
        needed: end,
        got: bytes.len() as u64,
    })
}
