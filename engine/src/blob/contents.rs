//! Whether a header, a manifest and its table of tensors agree with each other.

use super::header::Header;
use super::layout::{Due, Layout, Placer, expert_bytes};
use super::record::expert_gates;
use super::{BlobError, LAYOUT_INTERLEAVED, LayerKind, Manifest, Role, TensorRecord};
use crate::quant::NumberFormat;

/// A header and a manifest that agree with each other.
pub(crate) struct Contents<'a> {
    pub(crate) header: Header,
    pub(crate) manifest: Manifest<'a>,
    /// Where in the payload the last tensor ends.
    pub(crate) tensors_end: u64,
}

impl<'a> Contents<'a> {
    /// Checks `manifest`, the bytes that belong to `header`.
    pub(crate) fn new(header: Header, manifest: &'a [u8]) -> Result<Self, BlobError> {
        let (manifest, rest) = postcard::take_from_bytes::<Manifest<'a>>(manifest)
            .map_err(|_| BlobError::ManifestEncoding)?;
        if !rest.is_empty() {
            return Err(BlobError::ManifestTrailing {
                extra: rest.len() as u64,
            });
        }
        check_manifest(&manifest)?;
        if header.major < manifest.major_version() {
            return Err(BlobError::VersionTooLow {
                found: header.major,
                needed: manifest.major_version(),
            });
        }
        let tensors_end = check_table(&manifest)?;
        let payload_end = tensors_end.checked_add(manifest.tokenizer_len);
        if payload_end != Some(header.payload_len) {
            return Err(BlobError::PayloadLength {
                found: header.payload_len,
                expected: payload_end.unwrap_or(u64::MAX),
            });
        }
        Ok(Self {
            header,
            manifest,
            tensors_end,
        })
    }

    /// As [`super::Blob::loaded_bytes`].
    pub(crate) fn loaded_bytes(&self) -> u64 {
        let file = self.header.file_len().unwrap_or(u64::MAX);
        file.saturating_sub(self.manifest.expert_sizes().bytes)
    }

    /// First byte and bytes of each layer's experts in the file, in file order.
    pub(crate) fn experts(&self) -> impl Iterator<Item = (u64, u64)> {
        let payload = self.header.payload_offset;
        expert_gates(self.manifest.tensors)
            .map(move |gate| (payload + gate.offset, gate.experts_bytes()))
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
    let own_layers = config.num_hidden_layers as usize;
    let mtp_layers = usize::from(manifest.mtp_layer().is_some());
    if manifest.layers.len() != own_layers + mtp_layers {
        let found = manifest.layers.len() as u64;
        return Err(wrong("layers", found, "one byte for each hidden layer"));
    }
    for (layer, kind) in manifest.layers.iter().enumerate() {
        if kind & !(LayerKind::MOE | LayerKind::SLIDING | LayerKind::MTP) != 0 {
            return Err(wrong("layers", (*kind).into(), "known bits only"));
        }
        let kind = LayerKind(*kind);
        if kind.is_mtp() && layer < own_layers {
            return Err(wrong("layers", kind.0.into(), "the predicting layer last"));
        }
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
