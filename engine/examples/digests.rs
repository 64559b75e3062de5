//! Runs a briquette with the engine alone, with every instruction set that this
//! processor has, and prints a digest of the logits after each token: two
//! machines that print the same computed the same bits.
//!
//! ```text
//! cargo run --release -p briquette-engine --features std --example digests -- MODEL.briq 1 2 3
//! ```

use std::error::Error;

use briquette_engine::blob::Blob;
use briquette_engine::cpu::{ArenaLine, Serial};
use briquette_engine::{Isa, Plan, PlanOptions, Session, logits_digest};
use bytemuck::Zeroable;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: digests MODEL.briq ID …")?;
    let ids: Vec<u32> = arguments.map(|id| id.parse()).collect::<Result<_, _>>()?;
    // Allocators align to 8 bytes or more, and a briquette needs 4.
    let file = std::fs::read(path)?;
    for isa in Isa::available() {
        let digests = digests(&file, &ids, isa)?;
        println!("{} {}", isa.name(), digests.join(" "));
    }
    Ok(())
}

/// CRC-32 of the logits after each of `ids`.
fn digests(file: &[u8], ids: &[u32], isa: Isa) -> Result<Vec<String>, Box<dyn Error>> {
    let blob = Blob::open(file)?;
    let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()))?;
    let mut lines = vec![ArenaLine::zeroed(); plan.arena_bytes().div_ceil(64) as usize];
    let memory = bytemuck::cast_slice_mut(&mut lines);
    let vocab_size = blob.manifest().config.vocab_size as usize;
    let mut session = Session::with_team(blob, &plan, memory, Serial, isa)?;
    let mut row = vec![0.0; vocab_size];
    let mut digests = Vec::new();
    session.score(ids, &mut row, |_, logits| {
        digests.push(format!("{:08x}", logits_digest(logits)));
    })?;
    Ok(digests)
}
