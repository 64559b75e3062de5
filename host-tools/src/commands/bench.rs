//! `briquette bench`: speed, bytes and memory, measured.

use std::collections::HashMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use briquette_engine::blob::Blob;
use briquette_engine::{Executor, Isa, PlanOptions, Traffic};
use serde_json::{Value, json};

use super::execution::at_most_cores;
use super::{CommandError, Execution};
use crate::measure::{Products, peak_products, read_bandwidth};
use crate::run::{Backend, FileStorage, HOST_BATCH, Host, hit_rate};
use crate::support::machine::{cores, peak_memory};
use crate::support::terminal::{self, bytes};

/// Measures tokens per second, bytes touched per token and peak memory, and how
/// close they come to what the machine can read and multiply.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette bench model.briq
  briquette bench model.briq --prompt 512 --gen 64 --threads 1,2 --depth 0,2048 --json
  briquette bench model.briq --expert-slots 32

Medians of --repeat runs, taken in turns so that drift hits all alike, after one
that does not count. Decoding is bound by the bytes it reads, prefill by
arithmetic: `of bandwidth` is the share of what as many threads read from memory
when they do nothing else, `of arithmetic` the products of weights among what
they can multiply in registers. With --expert-slots, bytes read are what was asked
of the file; the system may still have had some of them in memory.")]
pub(crate) struct Args {
    /// The briquette
    file: PathBuf,
    /// Prompt lengths to prefill, in tokens
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "128,512",
        value_name = "N,…",
        allow_negative_numbers = true
    )]
    prompt: Vec<u32>,
    /// Tokens to decode
    #[arg(
        long = "gen",
        default_value_t = 128,
        value_name = "N",
        allow_negative_numbers = true
    )]
    generate: u32,
    /// Numbers of threads [default: all cores]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    threads: Vec<NonZeroUsize>,
    /// Tokens already in the cache when measuring starts
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0",
        value_name = "N,…",
        allow_negative_numbers = true
    )]
    depth: Vec<u32>,
    #[command(flatten)]
    execution: Execution,
    /// Tokens that prefill takes at a time
    #[arg(long, default_value_t = HOST_BATCH, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Runs of each measurement
    #[arg(long, default_value_t = 3, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One thing to measure.
#[derive(Clone, Copy)]
struct Test {
    /// Prefill or decode.
    prefill: bool,
    tokens: u32,
    threads: usize,
    depth: u32,
}

/// What was measured.
struct Measured {
    test: Test,
    /// Median tokens per second, slowest and fastest.
    speed: [f64; 3],
    /// Bytes that one run read.
    traffic: Traffic,
    /// Fraction of the read bandwidth.
    bandwidth: f64,
    /// Fraction of the arithmetic ceiling.
    arithmetic: f64,
}

/// What a number of threads can do at most per second; not a number if unknown.
#[derive(Clone, Copy)]
struct Limits {
    bytes: f64,
    products: f64,
}

impl Limits {
    const UNKNOWN: Self = Self {
        bytes: f64::NAN,
        products: f64::NAN,
    };

    fn of(threads: usize) -> Self {
        Self {
            bytes: read_bandwidth(threads).unwrap_or(f64::NAN),
            products: peak_products(threads).unwrap_or(f64::NAN),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let mut file = args.execution.open(&args.file)?;
    let (blob, mut storage) = file.parts()?;
    let threads = match args.threads.as_slice() {
        [] => vec![cores().get()],
        given => given
            .iter()
            .map(|count| at_most_cores(*count).get())
            .collect(),
    };
    let tests = tests(args, &threads);
    if tests.is_empty() {
        return Err(CommandError::Refused("nothing to measure".into()));
    }
    let mut seconds = vec![Vec::new(); tests.len()];
    let mut traffic = vec![Traffic::default(); tests.len()];
    let rounds = u64::from(args.repeat + 1) * tests.len() as u64;
    let bar = terminal::progress(rounds, "Measuring");
    // The first round does not count: it brings the file into memory.
    for round in 0..=args.repeat {
        for (i, test) in tests.iter().enumerate() {
            if terminal::interrupted() {
                return Err(CommandError::Interrupted);
            }
            let (time, read) = measure(&blob, storage.as_deref_mut(), *test, args)?;
            if round > 0 {
                seconds[i].push(time);
                traffic[i] = read;
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    // Measuring the bandwidth takes memory of its own, so this comes first.
    let peak = peak_memory();
    let limits: HashMap<usize, Limits> = match args.execution.backend {
        // The device's limits count, and they are unknown.
        Backend::Wgpu | Backend::Cuda => HashMap::new(),
        Backend::Cpu | Backend::Flex | Backend::Ndarray => threads
            .iter()
            .map(|threads| (*threads, Limits::of(*threads)))
            .collect(),
    };
    let products = Products::of(&blob);
    let results: Vec<_> = tests
        .iter()
        .zip(seconds)
        .zip(traffic)
        .map(|((test, seconds), traffic)| {
            let limits = limits.get(&test.threads).copied();
            let limits = limits.unwrap_or(Limits::UNKNOWN);
            summarize(*test, seconds, traffic, &products, limits)
        })
        .collect();
    show(&blob, &results, peak, args)
}

fn tests(args: &Args, threads: &[usize]) -> Vec<Test> {
    let mut tests = Vec::new();
    for threads in threads {
        for depth in &args.depth {
            let prompts = args.prompt.iter().map(|tokens| (true, *tokens));
            for (prefill, tokens) in prompts.chain([(false, args.generate)]) {
                if tokens > 0 {
                    tests.push(Test {
                        prefill,
                        tokens,
                        threads: *threads,
                        depth: *depth,
                    });
                }
            }
        }
    }
    tests
}

/// Seconds for one run, and what it read.
fn measure(
    blob: &Blob<'_>,
    storage: Option<&mut FileStorage>,
    test: Test,
    args: &Args,
) -> Result<(f64, Traffic), CommandError> {
    let options = PlanOptions {
        context: test.depth + test.tokens,
        batch: args.batch,
        expert_slots: args.execution.expert_slots(),
        ..PlanOptions::packed(blob.manifest())
    };
    let mut host = Host::new(args.execution.backend, test.threads);
    let mut executor = host.executor(blob.clone(), storage, options)?;
    time(&mut *executor, test)
}

/// Runs the test in a fresh session.
fn time(session: &mut dyn Executor<'_>, test: Test) -> Result<(f64, Traffic), CommandError> {
    // All tokens cost the same; different ones choose different experts.
    let vocab = session.blob().manifest().config.vocab_size;
    let token = |i: u32| i.wrapping_mul(2_654_435_761) % vocab;
    if test.depth > 0 {
        let filler: Vec<u32> = (0..test.depth).map(token).collect();
        session.prefill(&filler)?;
    }
    let tokens: Vec<u32> = (test.depth..test.depth + test.tokens).map(token).collect();
    let before = session.traffic();
    let start = Instant::now();
    if test.prefill {
        session.prefill(&tokens)?;
    } else {
        for token in &tokens {
            session.decode(*token)?;
        }
    }
    let time = start.elapsed().as_secs_f64();
    Ok((time, session.traffic().since(&before)))
}

/// `limits` are those of the same number of threads.
fn summarize(
    test: Test,
    mut seconds: Vec<f64>,
    traffic: Traffic,
    products: &Products,
    limits: Limits,
) -> Measured {
    seconds.sort_by(f64::total_cmp);
    let tokens = f64::from(test.tokens);
    let median = seconds[seconds.len() / 2];
    let bytes = (traffic.weights + traffic.kv) as f64;
    // Prefill wants the logits of its last token only.
    let heads = if test.prefill { 1.0 } else { tokens };
    let products = products.layers as f64 * tokens + products.head as f64 * heads;
    Measured {
        test,
        speed: [
            tokens / median,
            tokens / seconds[seconds.len() - 1],
            tokens / seconds[0],
        ],
        traffic,
        bandwidth: bytes / median / limits.bytes,
        arithmetic: products / median / limits.products,
    }
}

fn show(
    blob: &Blob<'_>,
    results: &[Measured],
    peak: Option<u64>,
    args: &Args,
) -> Result<(), CommandError> {
    let kernels = match args.execution.backend {
        Backend::Cpu => Isa::detect().name(),
        other => other.name(),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let results: Vec<Value> = results.iter().map(to_json).collect();
        let report = json!({
            "name": blob.manifest().provenance.name,
            "backend": args.execution.backend.name(),
            "kernels": kernels,
            "peak_memory_bytes": peak,
            "results": results,
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}, kernels {kernels}",
        blob.manifest().provenance.name,
    )?;
    writeln!(
        out,
        "| test | threads | depth | tokens/s | slowest … fastest | bytes/token | of bandwidth | of arithmetic |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for measured in results {
        let test = measured.test;
        let [median, slowest, fastest] = measured.speed;
        let per_token = (measured.traffic.weights + measured.traffic.kv) / u64::from(test.tokens);
        writeln!(
            out,
            "| {} {} | {} | {} | {median:.1} | {slowest:.1} … {fastest:.1} | {} | {} | {} |",
            if test.prefill { "prefill" } else { "decode" },
            test.tokens,
            test.threads,
            test.depth,
            bytes(per_token),
            percent(measured.bandwidth),
            percent(measured.arithmetic),
        )?;
    }
    write_storage(&mut out, results)?;
    if let Some(peak) = peak {
        writeln!(
            out,
            "Peak memory of this process, the file included: {}",
            bytes(peak)
        )?;
    }
    Ok(())
}

/// A fraction, if it is known.
fn percent(fraction: f64) -> String {
    if fraction.is_nan() {
        "unknown".into()
    } else {
        format!("{:.0} %", fraction * 100.0)
    }
}

/// What was read from storage, if anything was.
fn write_storage(out: &mut impl Write, results: &[Measured]) -> std::io::Result<()> {
    for measured in results {
        let (test, storage) = (measured.test, &measured.traffic.storage);
        if let Some(rate) = hit_rate(storage) {
            let name = if test.prefill { "prefill" } else { "decode" };
            writeln!(
                out,
                "{name} {}: {rate:.1} % of the experts were in memory, {} per token read from the file",
                test.tokens,
                bytes(storage.bytes / u64::from(test.tokens)),
            )?;
        }
    }
    Ok(())
}

fn to_json(measured: &Measured) -> Value {
    let test = measured.test;
    let [median, slowest, fastest] = measured.speed;
    json!({
        "test": if test.prefill { "prefill" } else { "decode" },
        "tokens": test.tokens,
        "threads": test.threads,
        "depth": test.depth,
        "tokens_per_second": median,
        "slowest": slowest,
        "fastest": fastest,
        "weight_bytes_per_token": measured.traffic.weights as f64 / f64::from(test.tokens),
        "kv_bytes_per_token": measured.traffic.kv as f64 / f64::from(test.tokens),
        "bandwidth_fraction": measured.bandwidth,
        "arithmetic_fraction": measured.arithmetic,
        "expert_hits": measured.traffic.storage.hits,
        "expert_misses": measured.traffic.storage.misses,
        "storage_bytes_per_token": measured.traffic.storage.bytes as f64 / f64::from(test.tokens),
    })
}
