//! `briquette pack`: a checkpoint becomes a briquette.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use briquette_engine::blob::Role;
use serde_json::json;

use super::{CommandError, warn_of_context};
use crate::checkpoint::tokenizer::TokenizerImportError;
use crate::checkpoint::{self, Model, OpenOptions, Source, TensorId, gguf};
use crate::pack::{CacheFormat, FormatChoice, PackOptions, Target, WeightFormat, pack};
use crate::support::files;
use crate::support::machine::peak_memory;
use crate::support::terminal;

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
    #[arg(long, value_enum, default_value_t = PackOptions::WEIGHTS)]
    weights: WeightFormat,
    /// Embedding, and a head tied to it [default: as --weights, q8 with q4 (unless the source has four bits)]
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
    #[arg(long, value_enum, default_value_t = PackOptions::KV)]
    kv: CacheFormat,
    /// Tokens that the cache holds [default: what the model was trained for, at most 2048]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    context: Option<u32>,
    /// Tokens that prefill takes at a time
    #[arg(
        long,
        default_value_t = PackOptions::BATCH,
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

impl Args {
    /// What is asked for, and for the rest the defaults for `model`.
    fn options(&self, model: &Model) -> Result<PackOptions, CommandError> {
        let defaults = PackOptions::for_model(model);
        let options = PackOptions {
            formats: self.formats(),
            kv: self.kv.into(),
            context: self.context.unwrap_or(defaults.context),
            batch: self.batch,
            mtp: self.mtp,
            target: self.target.as_deref().map(Target::find).transpose()?,
            ..defaults
        };
        Ok(options.summarized(self.pre.as_deref()))
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
    let open = OpenOptions {
        without_tokenizer: args.no_tokenizer,
        without_template: args.no_template,
        pre: args.pre.clone(),
    };
    let mut source = checkpoint::open_as(&args.source, &open)?;
    let model = source.weights.model();
    let options = args.options(model)?;
    warn_of_context(options.context, model.config.max_position_embeddings);
    warn_of_formats(args, &source);
    let leaves_mtp_out = model.mtp.is_some() && !args.mtp;
    let bar = terminal::progress(1, "Packing");
    let packed = pack(&mut source, &options, &args.output, terminal::follow(&bar));
    bar.finish_and_clear();
    let packed = packed?;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = json!({
            "output": args.output.to_string_lossy(),
            "file_bytes": packed.file_bytes,
            "parameters": packed.parameters,
            "bits_per_weight": packed.bits_per_parameter(),
            "mtp": args.mtp,
            "seconds": seconds,
            "peak_memory_bytes": peak_memory(),
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}: {packed}, in {seconds:.1} s",
        args.output.display()
    )?;
    if let Some(fit) = &packed.fit {
        writeln!(out, "{fit}")?;
    }
    if leaves_mtp_out {
        let what = "The layer for multi-token prediction was left out; --mtp packs it";
        writeln!(out, "{what}")?;
    }
    Ok(())
}

/// Warns of options that change nothing, or only make the file larger.
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
    if let Some(encoding) = encoding.filter(|encoding| is_wide && encoding.is_quantized()) {
        tracing::warn!(
            "--weights: the source's weights are {}; a wider format makes the file larger \
             and its answers no better",
            encoding.name()
        );
    }
}

/// The name of a known pre-tokenizer.
fn pre_tokenizer(name: &str) -> Result<String, TokenizerImportError> {
    gguf::check_pre(name).map(|()| name.to_owned())
}
