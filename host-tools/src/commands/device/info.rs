//! `briquette device info`: who a device is.

use std::io::{self, Write};

use briquette_protocol::{Statistics, Work};
use serde_json::{Value, json};

use super::super::CommandError;
use super::{Connection, seconds_of};
use crate::device::DeviceInfo;
use crate::support::terminal::{bytes, hex};

/// Shows who the device is, its memory contract and what it has spent.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette device info --port /dev/ttyACM0
  briquette device info --port unix:/tmp/board --json | jq .memory")]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    let mut client = args.connection.open()?;
    let statistics = client.statistics()?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report(client.info(), &statistics))?;
    } else {
        write_page(&mut out, client.info(), &statistics)?;
    }
    Ok(())
}

fn report(info: &DeviceInfo, statistics: &Statistics) -> Value {
    json!({
        "protocol": info.protocol,
        "firmware": info.firmware,
        "target": info.target,
        "model": info.model,
        "source_sha256_prefix": hex(&info.digest),
        "memory": {
            "context": info.memory.context,
            "batch": info.memory.batch,
            "arena_bytes": info.memory.arena_bytes,
            "scratch_bytes": info.memory.scratch_bytes,
            "kv_bytes": info.memory.kv_bytes,
            "flash_bytes": info.memory.flash_bytes,
            "loaded_bytes": info.memory.loaded_bytes,
            "expert_slots": info.memory.expert_slots,
        },
        "statistics": {
            "arena_used": statistics.arena_used,
            "stack_peak": statistics.stack_peak,
            "stack_bytes": statistics.stack_bytes,
            "ticks_per_second": statistics.ticks_per_second,
            "prefill": work_json(statistics.prefill),
            "decode": work_json(statistics.decode),
        },
    })
}

/// What some tokens have cost.
pub(super) fn work_json(work: Work) -> Value {
    json!({
        "tokens": work.tokens,
        "ticks": work.ticks,
        "weight_bytes": work.weight_bytes,
        "expert_bytes": work.expert_bytes,
        "kv_bytes": work.kv_bytes,
        "expert_hits": work.expert_hits,
        "expert_misses": work.expert_misses,
        "storage_bytes": work.storage_bytes,
    })
}

fn write_page(out: &mut impl Write, info: &DeviceInfo, statistics: &Statistics) -> io::Result<()> {
    let memory = &info.memory;
    writeln!(out, "{} on {}", info.model, info.target)?;
    writeln!(
        out,
        "  firmware    {}, protocol {}",
        info.firmware, info.protocol
    )?;
    writeln!(out, "  checkpoint  SHA-256 {}…", hex(&info.digest))?;
    writeln!(
        out,
        "\nMemory for {} tokens of context, batches of {}",
        memory.context, memory.batch
    )?;
    for (name, count) in [
        ("scratch", memory.scratch_bytes),
        ("KV cache", memory.kv_bytes),
        ("arena", memory.arena_bytes),
        ("arena used", statistics.arena_used),
        ("flash", memory.flash_bytes),
        ("stack peak", statistics.stack_peak.into()),
        ("stack", statistics.stack_bytes.into()),
    ] {
        writeln!(out, "  {name:<11} {:>11}  ({count} bytes)", bytes(count))?;
    }
    if memory.expert_slots > 0 {
        writeln!(
            out,
            "  flash is not mapped: {} of it in RAM besides the arena, which keeps {} experts",
            bytes(memory.loaded_bytes),
            memory.expert_slots
        )?;
    }
    writeln!(out, "\nSpent since it started")?;
    for (name, work) in [
        ("prefill", statistics.prefill),
        ("decode", statistics.decode),
    ] {
        write_work(out, name, work, statistics.ticks_per_second)?;
    }
    Ok(())
}

/// What one kind of work has cost so far.
fn write_work(
    out: &mut impl Write,
    name: &str,
    work: Work,
    ticks_per_second: u32,
) -> io::Result<()> {
    write!(
        out,
        "  {name:<11} {:>11}",
        format!("{} tokens", work.tokens)
    )?;
    if let Some(seconds) = seconds_of(work, ticks_per_second) {
        write!(
            out,
            "  {} ticks, {:.1} tokens/s",
            work.ticks,
            work.tokens as f64 / seconds
        )?;
    }
    let touched = work.weight_bytes + work.kv_bytes;
    if let Some(touched) = touched.checked_div(work.tokens) {
        write!(out, ", {} touched per token", bytes(touched))?;
    }
    let fetched = work.expert_hits + work.expert_misses;
    if fetched > 0 {
        write!(
            out,
            "; {:.1} % of experts were in memory, {} read from storage",
            100.0 * work.expert_hits as f64 / fetched as f64,
            bytes(work.storage_bytes)
        )?;
    }
    writeln!(out)
}
