//! `briquette pack`: a checkpoint becomes a briquette.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use briquette_engine::blob::Role;
use briquette_engine::quant::KvFormat;
use serde_json::json;

use super::{CommandError, Execution};
use crate::checkpoint::tokenizer::TokenizerImportError;
use crate::checkpoint::{self, OpenOptions, Source, TensorId, gguf};
use crate::pack::{FormatChoice, PackOptions, Target, WeightFormat, press};
use crate::support::files;
use crate::support::machine::peak_memory;
use crate::support::terminal::{self, bytes};

/// Reads a Hugging Face folder or a GGUF file and writes one briquette.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette pack ./DeepSeek-V2-Lite -o v2-lite.briq --weights q4 --kv q8
  briquette pack model.gguf -o model.briq --context 1024 --kv q4
  briquette pack ./llama -o small.briq --embedding q4a --head q4a
  briquette pack ./tiny -o exact.briq --weights f32 --kv f32
  briquette pack ./DeepSeek-V3 -o v3.briq --mtp
  briquette pack ./sentry -o sentry.briq --target rp2350 --context 256 --batch 1

Memory stays below 600 MB whatever the checkpoint's size. An existing OUT is
replaced only when the new file is complete.")]
pub(crate) struct Args {
    /// A Hugging Face folder or a .gguf file
    source: PathBuf,
    /// The briquette to write
    #[arg(short, long, value_name = "OUT.briq")]
    output: PathBuf,
    /// Number format of the weights
    #[arg(long, value_enum, default_value_t = WeightFormat::Q4)]
    weights: WeightFormat,
    /// Embedding, and a head tied to it [default: as --weights, q8 beside q4 (unless the source has four bits)]
    #[arg(long, value_enum, value_name = "FORMAT")]
    embedding: Option<WeightFormat>,
    /// Language-model head [default: by the rule for --embedding]
    #[arg(long, value_enum, value_name = "FORMAT")]
    head: Option<WeightFormat>,
    /// Attention projections [default: as --weights]
    #[arg(long, value_enum, value_name = "FORMAT")]
    attention: Option<WeightFormat>,
    /// Dense and shared MLPs [default: as --weights]
    #[arg(long, value_enum, value_name = "FORMAT")]
    mlp: Option<WeightFormat>,
    /// Routed experts [default: as --weights]
    #[arg(long, value_enum, value_name = "FORMAT")]
    experts: Option<WeightFormat>,
    /// Number format of the KV cache
    #[arg(long, value_enum, default_value_t = Kv::Q8)]
    kv: Kv,
    /// Tokens that the cache holds [default: what the model was trained for, at most 2048]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    context: Option<u32>,
    /// Tokens that prefill takes at a time
    #[arg(
        long,
        default_value_t = 32,
        value_name = "N",
        allow_negative_numbers = true
    )]
    batch: u32,
    /// Pack the layer for multi-token prediction too, for `run --draft mtp`
    #[arg(long)]
    mtp: bool,
    /// Leave the tokenizer out: the briquette works on token ids
    #[arg(long)]
    no_tokenizer: bool,
    /// Leave the chat template out: prompts are continued as they stand
    #[arg(long, conflicts_with = "no_tokenizer")]
    no_template: bool,
    /// How a GGUF file's text is split, where the file does not say it: as in tokenizer.ggml.pre
    #[arg(long, value_name = "NAME", value_parser = pre_tokenizer, conflicts_with = "no_tokenizer")]
    pre: Option<String>,
    /// Refuse a model that does not fit this device: a name, or a .toml file
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Number formats of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kv {
    /// For comparing with a reference
    F32,
    /// 16-bit floating point
    F16,
    /// 8-bit groups of 32; the rotated key of MLA stays f16
    Q8,
    /// 4-bit groups of 32, rotated; keys stay wider: q8, or f16 for MLA's rotated key
    Q4,
}

/// Longest context that is planned without being asked for.
const DEFAULT_CONTEXT: u32 = 2048;

impl Args {
    /// Packs `source` into `output` as if nothing else had been said.
    pub(crate) const fn with_defaults(source: PathBuf, output: PathBuf) -> Self {
        Self {
            source,
            output,
            weights: WeightFormat::Q4,
            embedding: None,
            head: None,
            attention: None,
            mlp: None,
            experts: None,
            kv: Kv::Q8,
            context: None,
            batch: 32,
            mtp: false,
            no_tokenizer: false,
            no_template: false,
            pre: None,
            target: None,
            json: false,
        }
    }

    /// Refuses a model that does not fit this device.
    pub(crate) fn for_target(mut self, name: &str) -> Self {
        self.target = Some(name.to_owned());
        self
    }

    fn formats(&self) -> FormatChoice {
        FormatChoice {
            weights: self.weights,
            embedding: self.embedding,
            head: self.head,
            attention: self.attention,
            mlp: self.mlp,
            experts: self.experts,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let start = Instant::now();
    let mut inputs = vec![args.source.as_path()];
    inputs.extend(args.target.as_deref().map(Path::new));
    files::check_output_beside(&args.output, &inputs)?;
    let said = OpenOptions {
        without_tokenizer: args.no_tokenizer,
        without_template: args.no_template,
        pre: args.pre.clone(),
    };
    let mut source = checkpoint::open_as(&args.source, &said)?;
    let trained = source.weights.model().config.max_position_embeddings;
    let context = args.context.unwrap_or(trained.min(DEFAULT_CONTEXT));
    Execution::warn_of_context(context, trained);
    warn_of_formats(args, &source);
    let options = PackOptions {
        formats: args.formats(),
        kv: match args.kv {
            Kv::F32 => KvFormat::F32,
            Kv::F16 => KvFormat::F16,
            Kv::Q8 => KvFormat::Q8,
            Kv::Q4 => KvFormat::Q4,
        },
        context,
        batch: args.batch,
        mtp: args.mtp,
        target: args.target.as_deref().map(Target::find).transpose()?,
        summary: summary(args, context),
    };
    let leaves_mtp_out = source.weights.model().mtp.is_some() && !args.mtp;
    let bar = terminal::progress(1, "Pressing");
    let packed = press(&mut source, &options, &args.output, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if terminal::interrupted() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    bar.finish_and_clear();
    let packed = packed?;
    let mut out = std::io::stdout().lock();
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        let report = json!({
            "output": args.output.to_string_lossy(),
            "file_bytes": packed.file_bytes,
            "parameters": packed.parameters,
            "bits_per_weight": packed.file_bytes as f64 * 8.0 / packed.parameters as f64,
            "mtp": args.mtp,
            "seconds": seconds,
            "peak_memory_bytes": peak_memory(),
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(
            out,
            "{}: {} for {} parameters, {:.2} bits each with all that is in the file, in {seconds:.1} s",
            args.output.display(),
            bytes(packed.file_bytes),
            count(packed.parameters),
            packed.file_bytes as f64 * 8.0 / packed.parameters as f64,
        )?;
        if let Some(fit) = &packed.fit {
            writeln!(out, "{fit}")?;
        }
        if leaves_mtp_out {
            writeln!(
                out,
                "The layer for multi-token prediction was left out; --mtp packs it"
            )?;
        }
    }
    Ok(())
}

/// Tells what was asked for and changes nothing, or only makes the file larger.
fn warn_of_formats(args: &Args, source: &Source) {
    if args.experts.is_some() && source.weights.model().config.moe.is_none() {
        tracing::warn!("--experts: the model has no experts, and nothing changes");
    }
    let output = TensorId {
        role: Role::Output,
        layer: 0,
    };
    let encoding = source.weights.encoding(output);
    let is_wide = matches!(args.weights, WeightFormat::F32 | WeightFormat::F16);
    if is_wide && (encoding.starts_with('Q') || encoding.starts_with("F8")) {
        tracing::warn!(
            "--weights: the source's weights are {encoding}; a wider format makes the file larger \
             and its answers no better"
        );
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

/// The name of a pre-tokenizer that there is.
fn pre_tokenizer(name: &str) -> Result<String, TokenizerImportError> {
    gguf::check_pre(name).map(|()| name.to_owned())
}

/// The options as they would be typed, for the manifest.
fn summary(args: &Args, context: u32) -> String {
    use clap::ValueEnum;
    let name = |format: WeightFormat| {
        let value = format.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let mut summary = format!("--weights {}", name(args.weights));
    for (option, format) in [
        ("embedding", args.embedding),
        ("head", args.head),
        ("attention", args.attention),
        ("mlp", args.mlp),
        ("experts", args.experts),
    ] {
        if let Some(format) = format {
            summary += &format!(" --{option} {}", name(format));
        }
    }
    let kv = format!("{:?}", args.kv).to_lowercase();
    let mtp = if args.mtp { " --mtp" } else { "" };
    if let Some(pre) = &args.pre {
        summary += &format!(" --pre {pre}");
    }
    summary + &format!(" --kv {kv} --context {context} --batch {}{mtp}", args.batch)
}
