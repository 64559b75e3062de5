//! Arguments of every command with a running model.

use std::num::NonZeroUsize;
use std::path::Path;

use crate::run::{Backend, Briquette, Host, LoadError, Pages};
use crate::support::machine::cores;

/// Where a model runs, and where its weights are.
#[derive(Debug, clap::Args)]
pub(crate) struct Execution {
    /// Where the model runs
    #[arg(long, value_enum, default_value_t = Backend::default())]
    pub(crate) backend: Backend,
    /// How the file comes into memory
    #[arg(long, value_enum, default_value_t = Pages::default())]
    pages: Pages,
    /// Keep N experts in memory and read the others from the file when they are
    /// needed, instead of mapping it: for models larger than RAM
    #[arg(long, value_name = "N", conflicts_with = "pages", value_parser = clap::value_parser!(u32).range(1..))]
    expert_slots: Option<u32>,
}

impl Execution {
    /// Opens the briquette at `path`.
    pub(crate) fn open(&self, path: &Path) -> Result<Briquette, LoadError> {
        Briquette::open(path, self.pages, self.expert_slots)
    }

    /// Slots for experts; 0 if all are in memory.
    pub(crate) fn expert_slots(&self) -> u32 {
        self.expert_slots.unwrap_or(0)
    }
}

/// One session with a model.
#[derive(Debug, clap::Args)]
pub(crate) struct OneSession {
    #[command(flatten)]
    pub(crate) execution: Execution,
    /// Threads to work with, at most one for each core [default: all cores]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<NonZeroUsize>,
    /// Tokens that the cache holds [default: what the file was packed for]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) context: Option<u32>,
}

impl OneSession {
    /// What the model is to run on.
    pub(crate) fn host(&self) -> Host {
        let threads = self.threads.map_or_else(cores, at_most_cores);
        Host::new(self.execution.backend, threads.get())
    }
}

/// Warns of a context that is longer than the model was trained for.
pub(crate) fn warn_of_context(context: u32, trained: u32) {
    if context > trained {
        tracing::warn!(
            "--context {context} is longer than the {trained} tokens of the model's training: \
             expect nonsense beyond them"
        );
    }
}

/// `threads`, at most one per core: threads wait for each other at every layer,
/// so a single one too many slows all of them down a hundredfold.
pub(crate) fn at_most_cores(threads: NonZeroUsize) -> NonZeroUsize {
    let cores = cores();
    if threads > cores {
        tracing::warn!(
            "--threads {threads}: this machine has {cores} cores, so {cores} threads are used"
        );
    }
    threads.min(cores)
}
