//! Runs a briquette with the engine alone, with every instruction set that this
//! processor has, and prints a digest of the logits after each token: two
//! machines that print the same computed the same bits.
//!
//! ```text
//! cargo run --release -p briquette-engine --features std --example digests -- MODEL.briq 1 2 3
//! ```

use std::error::Error;

use briquette_engine::blob::Blob;
use briquette_engine::cpu::{ArenaLine, Plan, PlanOptions, Serial};
use briquette_engine::{Isa, Session, logits_digest};
use bytemuck::Zeroable;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: digests MODEL.briq ID …")?;
    let ids: Vec<u32> = arguments.map(|id| id.parse()).collect::<Result<_, _>>()?;
    let file = aligned(&std::fs::read(&path)?);
    for isa in Isa::available() {
        let digests = digests(bytemuck::cast_slice(&file), &ids, isa)?;
        println!("{} {}", isa.name(), digests.join(" "));
    }
    Ok(())
}

/// CRC-32 of the logits after each of `ids`.
fn digests(file: &[u8], ids: &[u32], isa: Isa) -> Result<Vec<String>, Box<dyn Error>> {
    let blob = Blob::open(file)?;
    let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()))?;
    let mut arena = aligned(&vec![0; usize::try_from(plan.arena_bytes())?]);
    let memory = bytemuck::cast_slice_mut(&mut arena);
    let vocab_size = blob.manifest().config.vocab_size as usize;
    let mut session = Session::with_team(blob, &plan, memory, Serial, isa)?;
    let mut row = vec![0.0; vocab_size];
    let mut digests = Vec::new();
    session.score(ids, &mut row, |_, logits| {
        digests.push(format!("{:08x}", logits_digest(logits)));
    })?;
    Ok(digests)
}

/// `bytes` at an address that suits the engine.
fn aligned(bytes: &[u8]) -> Vec<ArenaLine> {
    let mut lines = vec![ArenaLine::zeroed(); bytes.len().div_ceil(size_of::<ArenaLine>())];
    bytemuck::cast_slice_mut(&mut lines)[..bytes.len()].copy_from_slice(bytes);
    lines
}
