//! From an open checkpoint to a file: its plan, its manifest, then its tensors.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use briquette_engine::blob::{
    Chat, ExpertSizes, Header, LAYOUT_INTERLEAVED, MAX_STOP_TOKENS, Manifest, Provenance,
    SingleTurn,
};
use briquette_engine::cpu::Plan;

use super::output::Output;
use super::rotate::LatentRotation;
use super::table::Table;
use super::writer::TensorWriter;
use super::{Fit, FormatChoice, PackError, PackOptions, Target};
use crate::checkpoint::{Source, Weights};
use crate::support::terminal::bytes;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Numbers in all matrices and vectors.
    pub parameters: u64,
    /// What it takes of the target, if there was one.
    pub fit: Option<Fit>,
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} for {} parameters, {:.2} bits each with all that is in the file",
            bytes(self.file_bytes),
            count(self.parameters),
            self.bits_per_parameter()
        )
    }
}

impl Packed {
    /// Bits of the file for each parameter.
    pub fn bits_per_parameter(&self) -> f64 {
        self.file_bytes as f64 * 8.0 / self.parameters as f64
    }
}

/// `212000` as `212.0 K`, `135000000` as `135.0 M`.
fn count(number: u64) -> String {
    match number as f64 {
        few if few < 1e6 => format!("{:.1} K", few / 1e3),
        many if many < 1e9 => format!("{:.1} M", many / 1e6),
        more => format!("{:.1} B", more / 1e9),
    }
}

/// Writes the briquette to `path`. `progress` is told how many of how many
/// numbers are done, and may stop the work.
///
/// # Errors
/// If the checkpoint is refused, the output cannot be written, or `progress`
/// breaks off; `path` is then as it was before.
pub fn pack(
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
    let table = Table::new(&source.weights, &layers, options.formats)?;
    let tensors = table.encode();
    let payload_len = table
        .end
        .checked_add(source.tokenizer.len() as u64)
        .ok_or(PackError::TooLarge)?;
    let plan = Plan::for_config(&model.config, ExpertSizes::default(), options.plan())?;
    let single_turn = source.single_turn.as_ref();
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
            single_turn: single_turn.map(|(prefix, suffix)| SingleTurn { prefix, suffix }),
        },
        provenance: Provenance {
            name: &source.name,
            architecture: &model.architecture,
            tool: concat!("briquette ", env!("CARGO_PKG_VERSION")),
            options: &options.summary,
            source_sha256: [0; 32],
        },
    };
    let header = header(&manifest, payload_len)?;
    let fit = match &options.target {
        Some(target) => Some(fit(target, options, &source.weights, &manifest, &header)?),
        None => None,
    };

    let mut output = Output::create(path, &header)?;
    let rotation = LatentRotation::new(&model.config, options.kv);
    let writer = TensorWriter::new(&mut source.weights, &mut output, &mut progress, rotation);
    manifest.provenance.source_sha256 = writer.write_all(&table)?;
    debug_assert_eq!(output.payload_len(), table.end);
    output.write(&source.tokenizer)?;
    Ok(Packed {
        file_bytes: output.finish(&header, &postcard::to_stdvec(&manifest)?)?,
        parameters: table.numbers(),
        fit,
    })
}

/// The header of the file; the digest of the source, which comes last, does not
/// change the manifest's length.
fn header(manifest: &Manifest<'_>, payload_len: u64) -> Result<Header, PackError> {
    let manifest_len = postcard::to_stdvec(manifest)?.len();
    let manifest_len = u32::try_from(manifest_len).map_err(|_| PackError::TooLarge)?;
    let header = Header::new(manifest_len, payload_len).ok_or(PackError::TooLarge)?;
    Ok(header.with_major(manifest.major_version()))
}

/// What the file takes of `target`.
///
/// # Errors
/// If it does not fit, with what would.
fn fit(
    target: &Target,
    options: &PackOptions,
    weights: &Weights,
    manifest: &Manifest<'_>,
    header: &Header,
) -> Result<Fit, PackError> {
    let file_bytes = header.file_len().ok_or(PackError::TooLarge)?;
    let tensors_end = manifest.memory.resident_bytes - manifest.tokenizer_len;
    let fewest = Table::new(weights, manifest.layers, FormatChoice::FEWEST_BITS)?.end;
    let smallest = Some(file_bytes - tensors_end + fewest.min(tensors_end));
    let experts = manifest.expert_sizes();
    let plan = options.plan();
    Ok(target.check(&manifest.config, experts, plan, file_bytes, smallest)?)
}

fn stop_tokens(found: &[u32]) -> Result<heapless::Vec<u32, MAX_STOP_TOKENS>, PackError> {
    heapless::Vec::from_slice(found).map_err(|_| PackError::StopTokens {
        found: found.len(),
        most: MAX_STOP_TOKENS,
    })
}
