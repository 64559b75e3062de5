//! Burn's executor on a Cortex-M55, in a heap of fixed size, beside the static
//! one: logs digests of both executors' logits, position by position, and fails
//! if they differ.

#![no_std]
#![no_main]

mod heap;

use board_runtime::stack;
use briquette_engine::blob::Blob;
use briquette_engine::burn::{BurnSession, DecoderBackend};
use briquette_engine::{EngineError, Executor, Plan, PlanOptions, Session, logits_digest};
use burn::backend::{Flex, NdArray};
use defmt::Display2Format;
use semihosting::process;

use heap::HEAP;

board_runtime::model!();

/// Tokens that both executors take in, one after the other.
const TOKENS: usize = 24;

/// A digest of the logits after each token.
type Digests = [u32; TOKENS];

#[cortex_m_rt::entry]
fn main() -> ! {
    HEAP.start();
    match compare() {
        Ok(true) => {
            let stack = stack::measure();
            defmt::info!("stack: {=u32} of {=u32} bytes", stack.peak, stack.bytes);
            process::exit(0)
        }
        Ok(false) => defmt::error!("the executors differ"),
        Err(error) => defmt::error!("the model cannot be run: {}", Display2Format(&error)),
    }
    process::exit(1)
}

fn compare() -> Result<bool, EngineError> {
    let expected = static_executor()?;
    for (position, digest) in expected.iter().enumerate() {
        defmt::info!("static {=usize} {=u32:#010x}", position, *digest);
    }
    let flex = burn_executor::<Flex>("flex")?;
    let ndarray = burn_executor::<NdArray>("ndarray")?;
    Ok(flex == expected && ndarray == expected)
}

fn static_executor() -> Result<Digests, EngineError> {
    let blob = Blob::open(&MODEL.0)?;
    let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()))?;
    let mut session = Session::new(blob, &plan, ARENA.take().bytes())?;
    digests(&mut session)
}

/// With burn's backend `B`; logs how much of the heap it used.
fn burn_executor<B: DecoderBackend>(name: &str) -> Result<Digests, EngineError> {
    HEAP.take_peak();
    let blob = Blob::open(&MODEL.0)?;
    let options = PlanOptions::packed(blob.manifest());
    let mut session = BurnSession::<B>::new(blob, options, &B::Device::default())?;
    let digests = digests(&mut session)?;
    for (position, digest) in digests.iter().enumerate() {
        defmt::info!("{=str} {=usize} {=u32:#010x}", name, position, *digest);
    }
    defmt::info!(
        "{=str} heap: {=usize} of {=usize} bytes",
        name,
        HEAP.take_peak(),
        heap::SIZE
    );
    Ok(digests)
}

/// Takes some tokens in, and digests the logits after each.
fn digests<'a>(session: &mut impl Executor<'a>) -> Result<Digests, EngineError> {
    let vocab_size = session.blob().manifest().config.vocab_size;
    let mut digests = [0; TOKENS];
    for (position, digest) in (0..).zip(&mut digests) {
        *digest = logits_digest(session.decode(position * 37 % vocab_size)?);
    }
    Ok(digests)
}
