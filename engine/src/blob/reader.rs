//! Opening a briquette in place.

use sha2::{Digest, Sha256};

use super::header::{self, HEADER_LEN, Header};
use super::layout::{Due, Layout, Placer, expert_bytes};
use super::{BlobError, LAYOUT_INTERLEAVED, LayerKind, Manifest, Role, TensorRecord};
use crate::quant::{Matrix, NumberFormat};

/// A checked briquette. All accessors are total: what the checks at opening
/// guarantee is not checked again, and what they do not is `None`.
#[derive(Debug, Clone)]
pub struct Blob<'a> {
    file: &'a [u8],
    header: Header,
    manifest: Manifest<'a>,
    payload: &'a [u8],
    tokenizer: &'a [u8],
    /// Entries of the table before the first layer, of a dense layer and of a
    /// layer with experts.
    entries: [usize; 3],
}

/// The address of a briquette must be a multiple of this.
pub const ADDRESS_ALIGNMENT: usize = align_of::<f32>();

impl<'a> Blob<'a> {
    /// Checks everything but the payload's bytes: O(manifest), no allocation.
    ///
    /// # Errors
    /// The first thing that is wrong. Any bytes may be handed in.
    pub fn open(file: &'a [u8]) -> Result<Self, BlobError> {
        let (header, encoded) = Header::decode(file)?;
        let (manifest, rest) = postcard::take_from_bytes::<Manifest<'a>>(encoded)
            .map_err(|_| BlobError::ManifestEncoding)?;
        if !rest.is_empty() {
            return Err(BlobError::ManifestTrailing {
                extra: rest.len() as u64,
            });
        }
        if !file.as_ptr().addr().is_multiple_of(ADDRESS_ALIGNMENT) {
            return Err(BlobError::Misaligned {
                needed: ADDRESS_ALIGNMENT,
            });
        }
        check_manifest(&manifest)?;
        let tensors_end = check_table(&manifest)?;
        let payload_end = tensors_end.checked_add(manifest.tokenizer_len);
        if payload_end != Some(header.payload_len) {
            return Err(BlobError::PayloadLength {
                found: header.payload_len,
                expected: payload_end.unwrap_or(u64::MAX),
            });
        }
        let payload = range(file, header.payload_offset, header.payload_len)?;
        let tokenizer = range(payload, tensors_end, manifest.tokenizer_len)?;
        let entries = [
            table_entries(&manifest, None),
            table_entries(&manifest, Some(LayerKind(0))),
            table_entries(&manifest, Some(LayerKind(LayerKind::MOE))),
        ];
        Ok(Self {
            file,
            header,
            manifest,
            payload,
            tokenizer,
            entries,
        })
    }

    /// What the file says about itself.
    pub const fn manifest(&self) -> &Manifest<'a> {
        &self.manifest
    }

    /// The whole file's bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.file
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

    /// What layer `layer` is made of.
    pub fn layer_kind(&self, layer: usize) -> LayerKind {
        LayerKind(self.manifest.layers.get(layer).copied().unwrap_or(0))
    }

    /// The tensors of the whole model.
    pub fn model_tensors(&self) -> Tensors<'a> {
        self.tensors(0, self.entries[0])
    }

    /// The tensors of layer `layer`.
    pub fn layer_tensors(&self, layer: usize) -> Tensors<'a> {
        let before = self.manifest.layers.get(..layer).unwrap_or_default();
        let moe_layers = before.iter().filter(|kind| LayerKind(**kind).is_moe());
        let moe_before = moe_layers.count();
        let [model, dense, moe] = self.entries;
        let start = model + (before.len() - moe_before) * dense + moe_before * moe;
        let count = if self.layer_kind(layer).is_moe() {
            moe
        } else {
            dense
        };
        self.tensors(start, count)
    }

    /// Reads the whole payload and compares all digests.
    ///
    /// # Errors
    /// [`BlobError::PayloadChecksum`] or [`BlobError::FileDigest`].
    pub fn verify(&self) -> Result<(), BlobError> {
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
        let range = start * TensorRecord::BYTES..(start + count) * TensorRecord::BYTES;
        Tensors {
            records: self.manifest.tensors.get(range).unwrap_or_default(),
            payload: self.payload,
        }
    }
}

/// The tensors of one layer or of the model, taken in file order.
#[derive(Debug, Clone)]
pub struct Tensors<'a> {
    records: &'a [u8],
    payload: &'a [u8],
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
        Some(Tensor {
            record,
            payload: self.payload,
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
}

impl<'a> Tensor<'a> {
    /// Its entry in the table.
    pub const fn record(&self) -> &TensorRecord {
        &self.record
    }

    /// Matrix number `index` (an expert, a head, else 0).
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
            .checked_add(self.record.offset)?;
        let bytes = range(self.payload, start, format.matrix_bytes(rows, cols)).ok()?;
        Matrix::new(format, rows, cols, bytes)
    }

    /// The numbers of a vector; empty for a matrix.
    pub fn vector(&self) -> &'a [f32] {
        if !self.record.role.is_vector() {
            return &[];
        }
        let len = u64::from(self.record.cols) * 4;
        range(self.payload, self.record.offset, len)
            .ok()
            .and_then(|bytes| bytemuck::try_cast_slice(bytes).ok())
            .unwrap_or_default()
    }
}

fn check_manifest(manifest: &Manifest<'_>) -> Result<(), BlobError> {
    let config = &manifest.config;
    config.check()?;
    let wrong = |field, found, expected| BlobError::Config {
        field,
        found,
        expected,
    };
    if manifest.layout != LAYOUT_INTERLEAVED {
        return Err(wrong("layout", manifest.layout.into(), "1"));
    }
    if manifest.layers.len() as u64 != u64::from(config.num_hidden_layers) {
        let found = manifest.layers.len() as u64;
        return Err(wrong("layers", found, "one byte for each hidden layer"));
    }
    for kind in manifest.layers {
        if kind & !(LayerKind::MOE | LayerKind::SLIDING) != 0 {
            return Err(wrong("layers", (*kind).into(), "known bits only"));
        }
        let kind = LayerKind(*kind);
        if kind.is_moe() && config.moe.is_none() {
            return Err(wrong("layers", kind.0.into(), "no experts without `moe`"));
        }
        if kind.is_sliding() && config.sliding_window.is_none() {
            return Err(wrong("layers", kind.0.into(), "no sliding without window"));
        }
        if !kind.is_moe() && config.intermediate_size == 0 {
            return Err(wrong("intermediate_size", 0, "a width for dense layers"));
        }
    }
    for token in &manifest.stop_tokens {
        if *token >= config.vocab_size {
            let found = u64::from(*token);
            return Err(wrong("stop_tokens", found, "less than vocab_size"));
        }
    }
    if manifest.memory.batch == 0 || manifest.memory.context == 0 {
        return Err(wrong("memory", 0, "a batch and a context of at least 1"));
    }
    Ok(())
}

/// Compares the tensor table with the one that the configuration asks for;
/// returns the end of the last tensor, aligned.
fn check_table(manifest: &Manifest<'_>) -> Result<u64, BlobError> {
    let mut records = manifest.tensors.chunks_exact(TensorRecord::BYTES);
    let mut placer = Placer::default();
    let mut index = 0_u32;
    let mut expert = 0;
    for due in Layout::new(&manifest.config, manifest.layers) {
        let wrong = |field| BlobError::Tensor {
            index,
            role: due.role,
            field,
        };
        let record = records
            .next()
            .and_then(|bytes| TensorRecord::decode(bytes.try_into().ok()?))
            .ok_or(wrong("role or format"))?;
        check_format(&due, record.format).map_err(wrong)?;
        if due.role == Role::ExpertGate {
            expert = record.stride;
        }
        let placed = placer
            .place(&due, record.format, expert)
            .ok_or(wrong("size"))?;
        compare(&record, &placed).map_err(wrong)?;
        if due.role == Role::ExpertDown && !expert_stride_fits(manifest, index, expert) {
            return Err(wrong("stride"));
        }
        index += 1;
    }
    let expected = u64::from(index) * TensorRecord::BYTES as u64;
    if manifest.tensors.len() as u64 != expected {
        return Err(BlobError::TableLength {
            found: manifest.tensors.len() as u64,
            expected,
        });
    }
    Ok(placer.end())
}

fn check_format(due: &Due, format: NumberFormat) -> Result<(), &'static str> {
    let exact = due.role.part() == super::Part::Exact;
    if exact && format != NumberFormat::F32 {
        return Err("format");
    }
    Ok(())
}

fn compare(found: &TensorRecord, due: &TensorRecord) -> Result<(), &'static str> {
    let checks = [
        (found.role == due.role, "role"),
        (found.layer == due.layer, "layer"),
        (found.count == due.count, "count"),
        (found.rows == due.rows, "rows"),
        (found.cols == due.cols, "cols"),
        (found.offset == due.offset, "offset"),
        (found.stride == due.stride, "stride"),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, field)) => Err(field),
        None => Ok(()),
    }
}

/// Whether the experts' stride is the size of one expert, known once the third
/// of its tensors (entry `index`) has been read.
fn expert_stride_fits(manifest: &Manifest<'_>, index: u32, stride: u64) -> bool {
    let format = |back: usize| {
        let at = (index as usize).checked_sub(back)? * TensorRecord::BYTES;
        let bytes = manifest.tensors.get(at..at + TensorRecord::BYTES)?;
        TensorRecord::decode(bytes.try_into().ok()?).map(|record| record.format)
    };
    let formats = [format(2), format(1), format(0)];
    let [Some(gate), Some(up), Some(down)] = formats else {
        return false;
    };
    expert_bytes(&manifest.config, [gate, up, down]) == Some(stride)
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
