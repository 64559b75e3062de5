//! From an open checkpoint to a file.

use std::ops::ControlFlow;
use std::path::Path;

use briquette_engine::blob::{
    Chat, ExpertSizes, Header, LAYOUT_INTERLEAVED, Layout, MAX_STOP_TOKENS, Manifest, Part, Placer,
    Provenance, Role, SingleTurn, TensorRecord, expert_bytes,
};
use briquette_engine::cpu::{Plan, PlanOptions};
use briquette_engine::quant::{KvFormat, LANES, NumberFormat};
use sha2::{Digest, Sha256};

use super::encode::encode_rows;
use super::output::Output;
use super::range::{Magnitudes, Misfit};
use super::rotate::LatentRotation;
use super::{Fit, FormatChoice, PackError, Target};
use crate::checkpoint::{Rows, Source, TensorId, Weights};

/// Numbers that are read and rounded at a time: 8 MB of `f32`.
const CHUNK: usize = 2 << 20;

/// How a checkpoint is packed.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// Number formats of the weights.
    pub formats: FormatChoice,
    /// Number format of the cache.
    pub kv: KvFormat,
    /// Tokens that the cache holds.
    pub context: u32,
    /// Tokens that prefill takes at a time.
    pub batch: u32,
    /// Whether to pack the layer for multi-token prediction too.
    pub mtp: bool,
    /// A device that the model must fit.
    pub target: Option<Target>,
    /// The options as a person would type them, for the manifest.
    pub summary: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Numbers in all matrices and vectors.
    pub parameters: u64,
    /// What it takes of the device that it had to fit.
    pub fit: Option<Fit>,
}

/// Writes the briquette to `path`. `progress` is told how many of how many
/// numbers are done, and may stop the work.
///
/// # Errors
/// If the checkpoint is refused, the output cannot be written, or `progress`
/// breaks off; `path` is then as it was before.
pub fn press(
    source: &mut Source,
    options: &PackOptions,
    path: &Path,
    mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Packed, PackError> {
    if options.mtp {
        source.weights.add_mtp_layer()?;
    }
    let model = source.weights.model().clone();
    model.config.check()?;
    source.weights.check()?;
    let layers: Vec<u8> = model.layers.iter().map(|kind| kind.0).collect();
    let (records, tensors_end) = place(&source.weights, &layers, options.formats)?;
    let tensors: Vec<u8> = records.iter().flat_map(TensorRecord::encode).collect();
    let payload_len = tensors_end
        .checked_add(source.tokenizer.len() as u64)
        .ok_or(PackError::TooLarge)?;
    let plan_options = PlanOptions {
        context: options.context,
        batch: options.batch,
        logits: 1,
        kv: options.kv,
        expert_slots: 0,
        mtp: false,
    };
    let plan = Plan::for_config(&model.config, ExpertSizes::default(), plan_options)?;
    let single_turn = source.single_turn.clone();
    let mut manifest = Manifest {
        layout: LAYOUT_INTERLEAVED,
        config: model.config,
        layers: &layers,
        kv: options.kv,
        memory: plan.contract(payload_len),
        tensors: &tensors,
        tokenizer_len: source.tokenizer.len() as u64,
        stop_tokens: stop_tokens(&source.stop_tokens)?,
        chat: Chat {
            template: &source.chat_template,
            single_turn: single_turn
                .as_ref()
                .map(|(prefix, suffix)| SingleTurn { prefix, suffix }),
        },
        provenance: Provenance {
            name: &source.name,
            architecture: &model.architecture,
            tool: concat!("briquette ", env!("CARGO_PKG_VERSION")),
            options: &options.summary,
            source_sha256: [0; 32],
        },
    };
    let manifest_len = postcard::to_stdvec(&manifest)?.len();
    let manifest_len = u32::try_from(manifest_len).map_err(|_| PackError::TooLarge)?;
    let header = Header::new(manifest_len, payload_len)
        .ok_or(PackError::TooLarge)?
        .with_major(manifest.major_version());

    let file_bytes = header.file_len().ok_or(PackError::TooLarge)?;
    let target = options.target.as_ref();
    let fit = target
        .map(|target| -> Result<Fit, PackError> {
            let experts = manifest.expert_sizes();
            let (_, fewest) = place(&source.weights, &layers, FormatChoice::FEWEST_BITS)?;
            let smallest = Some(file_bytes - tensors_end + fewest.min(tensors_end));
            let config = &model.config;
            Ok(target.check(config, experts, plan_options, file_bytes, smallest)?)
        })
        .transpose()?;

    let mut output = Output::create(path, &header)?;
    let total = records.iter().map(TensorRecord::numbers).sum();
    let mut writer = TensorWriter {
        weights: &mut source.weights,
        output: &mut output,
        progress: &mut progress,
        digest: Sha256::new(),
        done: 0,
        total,
        rotation: LatentRotation::new(&model.config, options.kv),
        rows: Rows::default(),
        blocks: Vec::new(),
    };
    writer.write_all(&records)?;
    manifest.provenance.source_sha256 = writer.digest.finalize().into();
    debug_assert_eq!(output.payload_len(), tensors_end);
    output.write(&source.tokenizer)?;
    let file_bytes = output.finish(&header, &postcard::to_stdvec(&manifest)?)?;
    Ok(Packed {
        file_bytes,
        parameters: total,
        fit,
    })
}

/// The tensor table, and where the last tensor ends.
fn place(
    weights: &Weights,
    layers: &[u8],
    formats: FormatChoice,
) -> Result<(Vec<TensorRecord>, u64), PackError> {
    let config = &weights.model().config;
    let formats = if config.tie_word_embeddings {
        formats.tied().ok_or(PackError::Tied)?
    } else {
        formats
    };
    let format = |role: Role, layer: u16| {
        if role.is_vector() {
            return NumberFormat::F32;
        }
        let encoding = weights.encoding(tensor_id(role, layer));
        formats.format(role, &encoding)
    };
    let mut placer = Placer::default();
    let mut expert = 0;
    let mut records = Vec::new();
    for due in Layout::new(config, layers) {
        if due.role == Role::ExpertGate {
            let roles = [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown];
            let formats = roles.map(|role| format(role, due.layer));
            expert = expert_bytes(config, formats).ok_or(PackError::TooLarge)?;
        }
        let record = placer.place(&due, format(due.role, due.layer), expert);
        records.push(record.ok_or(PackError::TooLarge)?);
    }
    Ok((records, placer.end()))
}

fn stop_tokens(found: &[u32]) -> Result<heapless::Vec<u32, MAX_STOP_TOKENS>, PackError> {
    heapless::Vec::from_slice(found).map_err(|_| PackError::StopTokens {
        found: found.len(),
        most: MAX_STOP_TOKENS,
    })
}

const fn tensor_id(role: Role, layer: u16) -> TensorId {
    TensorId {
        role,
        layer: if layer == TensorRecord::MODEL {
            0
        } else {
            layer as u32
        },
    }
}

/// Reads, rounds and writes tensors in file order.
struct TensorWriter<'a, P> {
    weights: &'a mut Weights,
    output: &'a mut Output,
    progress: &'a mut P,
    digest: Sha256,
    done: u64,
    total: u64,
    rotation: Option<LatentRotation>,
    rows: Rows,
    blocks: Vec<u8>,
}

impl<P: FnMut(u64, u64) -> ControlFlow<()>> TensorWriter<'_, P> {
    fn write_all(&mut self, records: &[TensorRecord]) -> Result<(), PackError> {
        let mut rest = records.iter();
        while let Some(record) = rest.next() {
            if record.role == Role::ExpertGate {
                let others = [rest.next(), rest.next()];
                let [Some(up), Some(down)] = others else {
                    return Err(PackError::TooLarge);
                };
                for expert in 0..record.count {
                    for tensor in [record, up, down] {
                        self.write_matrix(tensor, expert)?;
                    }
                }
            } else {
                for index in 0..record.count {
                    self.write_matrix(record, index)?;
                }
            }
        }
        Ok(())
    }

    fn write_matrix(&mut self, record: &TensorRecord, index: u32) -> Result<(), PackError> {
        let id = tensor_id(record.role, record.layer);
        let step = (CHUNK / record.cols as usize / LANES * LANES).max(LANES) as u32;
        let step = match self.rotation {
            Some(_) if LatentRotation::mixes_rows(record.role) => record.rows,
            _ => step,
        };
        let mut magnitudes = Magnitudes::default();
        let mut first = 0;
        while first < record.rows {
            let last = record.rows.min(first.saturating_add(step));
            self.weights.read(id, index, first..last, &mut self.rows)?;
            self.digest
                .update(bytemuck::cast_slice::<f32, u8>(&self.rows.values));
            if let Some(rotation) = &self.rotation {
                rotation.apply(self.weights, id, &mut self.rows)?;
            }
            self.blocks.clear();
            if record.role.is_vector() {
                let bytes = self.rows.values.iter().flat_map(|v| v.to_le_bytes());
                self.blocks.extend(bytes);
            } else {
                let encoded = encode_rows(record.format, &self.rows, &mut self.blocks);
                let encoded =
                    encoded.map_err(|misfit| self.misfit(record, index, first, misfit))?;
                magnitudes = magnitudes.and(encoded.counted_from(first as usize));
            }
            self.output.write(&self.blocks)?;
            self.done += self.rows.values.len() as u64;
            if (self.progress)(self.done, self.total).is_break() {
                return Err(PackError::Interrupted);
            }
            first = last;
        }
        let range = magnitudes.check(record.format);
        range.map_err(|misfit| self.misfit(record, index, 0, misfit))?;
        self.output.align()
    }

    /// The error for a number that a tensor's format cannot hold, its row
    /// counted from row `first` of matrix number `index`.
    fn misfit(&self, record: &TensorRecord, index: u32, first: u32, misfit: Misfit) -> PackError {
        let id = tensor_id(record.role, record.layer);
        PackError::OutOfRange {
            tensor: self.weights.stored_name(id, index),
            row: u64::from(first) + misfit.row as u64,
            value: misfit.value,
            direction: misfit.direction,
            format: record.format.name(),
            option: match (record.role, record.role.part()) {
                (Role::LmHead, _) => "head",
                (_, Part::Embedding) => "embedding",
                (_, Part::Attention) => "attention",
                (_, Part::Mlp) => "mlp",
                (_, Part::Experts) => "experts",
                (_, Part::Exact) => "weights",
            },
        }
    }
}
