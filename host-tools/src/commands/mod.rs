//! The verbs of the tool, one a file.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod device;
mod error;
pub(crate) mod eval;
pub(crate) mod flash;
mod input;
pub(crate) mod inspect;
pub(crate) mod logits;
mod numbers;
pub(crate) mod pack;
pub(crate) mod run;
pub(crate) mod tokenize;
pub(crate) mod train;
pub(crate) mod verify;

pub(crate) use error::CommandError;

use std::num::NonZeroUsize;

use crate::run::{Backend, Host, Pages};

/// Arguments that every command with a running model has.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Execution {
    /// Where the model runs
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub(crate) backend: Backend,
    /// Threads to work with, at most one for each core [default: all cores]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Tokens that the cache holds [default: what the file was packed for]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) context: Option<u32>,
    /// How the file comes into memory
    #[arg(long, value_enum, default_value_t = Pages::Mapped)]
    pub(crate) pages: Pages,
}

impl Execution {
    /// Threads to start.
    pub(crate) fn thread_count(&self) -> usize {
        self.threads.map_or_else(cores, at_most_cores).get()
    }

    /// Tells that a context is longer than the model was trained for.
    pub(crate) fn warn_of_context(context: u32, trained: u32) {
        if context > trained {
            tracing::warn!(
                "--context {context} is longer than the {trained} tokens of the model's training: \
                 expect nonsense beyond them"
            );
        }
    }

    /// What the model is to run on.
    pub(crate) fn host(&self) -> Host {
        Host::new(self.backend, self.thread_count())
    }
}

/// Processor cores that this process may use.
pub(crate) fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// `threads`, or as many as there are cores: threads wait for each other at
/// every layer, so one too many slows all of them down a hundredfold.
pub(crate) fn at_most_cores(threads: NonZeroUsize) -> NonZeroUsize {
    let cores = cores();
    if threads > cores {
        tracing::warn!("--threads {threads}: this machine has {cores} cores, and so many are used");
    }
    threads.min(cores)
}

/// A seed that differs from call to call.
fn clock_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_nanos() as u64)
}
