//! Has burn's executor, which shares no kernel with the first one, compute what
//! that has computed: digests of the logits of both, position by position. With
//! integer weights they must be equal.
//!
//! ```text
//! cargo run --release -p briquette-engine --features std,flex --example second_opinion -- \
//!     engine/examples/sentry.briq 0 20 45 7 40
//! ```

use std::error::Error;
use std::process::ExitCode;

use briquette_engine::blob::Blob;
use briquette_engine::burn::BurnSession;
use briquette_engine::cpu::ArenaLine;
use briquette_engine::{EngineError, Executor, Plan, PlanOptions, Session, logits_digest};
use burn::backend::Flex;
use bytemuck::Zeroable;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: second_opinion MODEL.briq ID …")?;
    let ids: Vec<u32> = arguments.map(|id| id.parse()).collect::<Result<_, _>>()?;
    // Allocators align to 8 bytes or more, and a briquette needs 4.
    let file = std::fs::read(path)?;
    let blob = Blob::open(&file)?;

    let options = PlanOptions::packed(blob.manifest());
    let plan = Plan::new(blob.manifest(), options)?;
    let mut lines = vec![ArenaLine::zeroed(); plan.arena_bytes().div_ceil(64) as usize];
    let arena = bytemuck::cast_slice_mut(&mut lines);
    let mut first = Session::new(blob.clone(), &plan, arena)?;
    let mut second = BurnSession::<Flex>::new(blob, options, &Default::default())?;

    let first = digests(&mut first, &ids)?;
    let second = digests(&mut second, &ids)?;
    for ((id, first), second) in ids.iter().zip(&first).zip(&second) {
        let verdict = if first == second { "" } else { "  differs" };
        println!("{id:>8}  {first:08x}  {second:08x}{verdict}");
    }
    Ok(if first == second {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A digest of the logits after each of `ids`.
fn digests<'a>(session: &mut impl Executor<'a>, ids: &[u32]) -> Result<Vec<u32>, EngineError> {
    ids.iter()
        .map(|id| session.decode(*id).map(|logits| logits_digest(logits)))
        .collect()
}
