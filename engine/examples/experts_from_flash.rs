//! Runs a mixture of experts that is not mapped into memory: all but the experts
//! is loaded, and an expert is read when a token chooses it, into one of a few
//! slots. A file stands for the flash here; serial flash with a driver for
//! `embedded-storage` is a [`NorStorage`](briquette_engine::storage::NorStorage).
//!
//! ```text
//! cargo run --release -p briquette-engine --example experts_from_flash -- \
//!     engine/examples/sentry.briq 4  0 20 45 7 40 21 37 8 39 10
//! ```
//!
//! keeps 4 experts in memory, takes in ten tokens (`briquette tokenize` tells those
//! of a text), and goes on greedily.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use briquette_engine::cpu::{ArenaLine, Serial};
use briquette_engine::kernels::Isa;
use briquette_engine::storage::{BlockStorage, ReadFailed, load};
use briquette_engine::text::sampler::most_likely;
use briquette_engine::{Plan, PlanOptions, Session};
use bytemuck::Zeroable;

/// A file, read block by block.
struct Flash {
    file: File,
    bytes: u64,
}

impl BlockStorage for Flash {
    fn capacity(&self) -> u64 {
        self.bytes
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadFailed> {
        let at = self.file.seek(SeekFrom::Start(offset));
        at.and_then(|_| self.file.read_exact(bytes))
            .map_err(|_| ReadFailed)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: experts_from_flash MODEL.briq SLOTS ID …";
    let file = File::open(arguments.next().ok_or(usage)?)?;
    let expert_slots: u32 = arguments.next().ok_or(usage)?.parse()?;
    let ids: Vec<u32> = arguments.map(|id| id.parse()).collect::<Result<_, _>>()?;
    let bytes = file.metadata()?.len();
    let mut flash = Flash { file, bytes };

    // All of a board's memory: the front is for what is loaded, the rest is the
    // arena.
    let mut memory = vec![ArenaLine::zeroed(); 4 << 20 >> 6];
    let (blob, arena) = load(&mut flash, bytemuck::cast_slice_mut(&mut memory))?;
    let options = PlanOptions {
        expert_slots,
        ..PlanOptions::packed(blob.manifest())
    };
    let plan = Plan::new(blob.manifest(), options)?;
    let (loaded, file) = (blob.loaded_bytes(), blob.file_bytes());
    println!(
        "of {file} bytes {loaded} are loaded, and the arena takes {}",
        plan.arena_bytes()
    );

    let isa = Isa::detect();
    let mut session = Session::with_storage(blob, &mut flash, &plan, arena, Serial, isa)?;
    let mut token = most_likely(session.prefill(&ids)?);
    for _ in 0..16 {
        print!("{token} ");
        token = most_likely(session.decode(token)?);
    }
    let storage = session.traffic().storage;
    println!(
        "\n{} experts were read, {} bytes; {} were in memory already",
        storage.misses, storage.bytes, storage.hits
    );
    Ok(())
}
