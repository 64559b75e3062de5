//! `briquette device bench`: how fast a device is, and what it touches.

use std::io::{self, Write};

use briquette_protocol::{StopReason, Work};
use serde_json::{Value, json};

use super::super::CommandError;
use super::info::work_json;
use super::{Connection, seconds_of};
use crate::device::{Client, DeviceInfo};
use crate::support::terminal::{self, bytes};

/// Measures tokens per second by the device's own clock, ticks and bytes touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette device bench --port /dev/ttyACM0
  briquette device bench --port unix:/tmp/board --prompt 64 --gen 32 --repeat 5 --json

Medians of --repeat runs. The clock of a board in QEMU says nothing about a real
core; the bytes are the same.")]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// Tokens to prefill [default: 32, or half of the context]
    #[arg(long, value_name = "N")]
    prompt: Option<u32>,
    /// Tokens to decode [default: 32, or the other half]
    #[arg(long = "gen", value_name = "N")]
    generate: Option<u32>,
    /// Runs
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Tokens that are measured by default.
const TOKENS: u32 = 32;

/// What the runs cost, cheapest in ticks first.
struct Measured {
    prefill: Vec<Work>,
    decode: Vec<Work>,
    ticks_per_second: u32,
    arena_used: u64,
}

pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    let mut client = args.connection.open()?;
    let context = client.info().memory.context;
    let prompt = args.prompt.unwrap_or(TOKENS.min(context / 2));
    let generate = args
        .generate
        .unwrap_or(TOKENS.min(context.saturating_sub(prompt)));
    if prompt == 0 && generate == 0 {
        return Err(CommandError::Refused("nothing to measure".into()));
    }
    if u64::from(prompt) + u64::from(generate) > u64::from(context) {
        return Err(CommandError::Refused(format!(
            "--prompt {prompt} and --gen {generate} do not fit the {context} tokens of context"
        )));
    }
    let measured = measure(&mut client, args, prompt, generate)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report(client.info(), &measured))?;
    } else {
        write_table(&mut out, client.info(), &measured)?;
    }
    Ok(())
}

fn measure(
    client: &mut Client,
    args: &Args,
    prompt: u32,
    generate: u32,
) -> Result<Measured, CommandError> {
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    let mut before = client.statistics()?;
    let steps = u64::from(args.repeat) * u64::from(generate + 1);
    let bar = terminal::progress(steps, "Measuring");
    for _ in 0..args.repeat {
        let stop = client.bench(prompt, generate, &terminal::interrupted, || bar.inc(1))?;
        if stop == StopReason::Stopped {
            return Err(CommandError::Interrupted);
        }
        bar.inc(1);
        let after = client.statistics()?;
        prefill.push(after.prefill - before.prefill);
        decode.push(after.decode - before.decode);
        before = after;
    }
    bar.finish_and_clear();
    prefill.sort_by_key(|work| work.ticks);
    decode.sort_by_key(|work| work.ticks);
    Ok(Measured {
        prefill,
        decode,
        ticks_per_second: before.ticks_per_second,
        arena_used: before.arena_used,
    })
}

impl Measured {
    /// What was measured, by name.
    fn tests(&self) -> impl Iterator<Item = (&'static str, &[Work])> {
        [("prefill", &self.prefill), ("decode", &self.decode)]
            .into_iter()
            .filter(|(_, runs)| runs.iter().any(|work| work.tokens > 0))
            .map(|(name, runs)| (name, runs.as_slice()))
    }
}

/// The median run.
fn median(runs: &[Work]) -> Work {
    runs.get(runs.len() / 2).copied().unwrap_or_default()
}

fn report(info: &DeviceInfo, measured: &Measured) -> Value {
    let hertz = measured.ticks_per_second;
    let results: Vec<Value> = measured
        .tests()
        .map(|(name, runs)| {
            let work = median(runs);
            let tokens = work.tokens as f64;
            json!({
                "test": name,
                "tokens": work.tokens,
                "tokens_per_second": seconds_of(work, hertz).map(|seconds| tokens / seconds),
                "ticks_per_token": work.ticks as f64 / tokens,
                "bytes_touched_per_token": (work.weight_bytes + work.kv_bytes) as f64 / tokens,
                "median": work_json(work),
                "ticks": runs.iter().map(|work| work.ticks).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "model": info.model,
        "target": info.target,
        "firmware": info.firmware,
        "ticks_per_second": hertz,
        "arena_used": measured.arena_used,
        "results": results,
    })
}

fn write_table(out: &mut impl Write, info: &DeviceInfo, measured: &Measured) -> io::Result<()> {
    let hertz = measured.ticks_per_second;
    writeln!(out, "{} on {}, clock {hertz} Hz", info.model, info.target)?;
    writeln!(
        out,
        "| test | tokens/s | ticks/token | bytes/token | of experts |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for (name, runs) in measured.tests() {
        let work = median(runs);
        let speed = seconds_of(work, hertz).map_or_else(
            || "no clock".into(),
            |seconds| format!("{:.1}", work.tokens as f64 / seconds),
        );
        writeln!(
            out,
            "| {name} {} | {speed} | {} | {} | {} |",
            work.tokens,
            work.ticks / work.tokens,
            bytes((work.weight_bytes + work.kv_bytes) / work.tokens),
            bytes(work.expert_bytes / work.tokens),
        )?;
    }
    writeln!(out, "Arena in use: {}", bytes(measured.arena_used))
}
