//! Where a model runs: the engine's executors, by name.

use briquette_engine::blob::Blob;
use briquette_engine::cpu::{Plan, PlanOptions, Threads};
use briquette_engine::kernels::Isa;
use briquette_engine::{EngineError, Executor, Session};

use crate::loaded::{Arena, LoadError};
use crate::stored::FileStorage;

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Backend {
    /// This machine's processor: the engine's own kernels
    #[default]
    Cpu,
    /// This machine's processor: burn's flex tensors, a plain second opinion
    Flex,
    /// This machine's processor: burn on ndarray, another one
    Ndarray,
}

impl Backend {
    /// The name that people type and see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
        }
    }
}

/// Where and how large a session is to be.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// What runs it.
    pub backend: Backend,
    /// Threads of [`Backend::Cpu`].
    pub threads: usize,
    /// Context, batch and cache.
    pub options: PlanOptions,
}

/// Why no session could be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// This build lacks the backend.
    #[error(
        "this build has no `{backend}` backend; make one with: \
         cargo build --release --features {backend}"
    )]
    NotBuilt {
        /// Its name.
        backend: &'static str,
    },
    /// The experts are not in memory.
    #[error("`--expert-slots` works with the `cpu` backend only")]
    Slots,
    /// The system refused to start threads.
    #[error("starting threads: {0}")]
    Threads(String),
    /// There is not enough memory.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Opens a session of `blob`'s model and hands it to `work`. Experts come from
/// `storage`, if there is one.
///
/// # Errors
/// If the backend is not there or has not enough memory.
pub fn with_executor<R>(
    place: &Place,
    blob: Blob<'_>,
    storage: Option<&mut FileStorage>,
    work: impl FnOnce(&mut dyn Executor<'_>) -> R,
) -> Result<R, ExecutorError> {
    match place.backend {
        Backend::Cpu => on_processor(place, blob, storage, work),
        _ if storage.is_some() => Err(ExecutorError::Slots),
        #[cfg(feature = "flex")]
        Backend::Flex => on_burn::<burn::backend::Flex, R>(place, blob, &Default::default(), work),
        #[cfg(feature = "ndarray")]
        Backend::Ndarray => {
            on_burn::<burn::backend::NdArray, R>(place, blob, &Default::default(), work)
        }
        #[cfg(not(all(feature = "flex", feature = "ndarray")))]
        other => Err(ExecutorError::NotBuilt {
            backend: other.name(),
        }),
    }
}

fn on_processor<R>(
    place: &Place,
    blob: Blob<'_>,
    storage: Option<&mut FileStorage>,
    work: impl FnOnce(&mut dyn Executor<'_>) -> R,
) -> Result<R, ExecutorError> {
    let plan = Plan::new(blob.manifest(), place.options)?;
    let mut arena = Arena::for_plan(&plan)?;
    let team =
        Threads::new(place.threads).map_err(|error| ExecutorError::Threads(error.to_string()))?;
    let (memory, isa) = (arena.bytes_mut(), Isa::detect());
    let mut session = match storage {
        None => Session::with_team(blob, &plan, memory, team, isa)?,
        Some(storage) => Session::with_storage(blob, storage, &plan, memory, team, isa)?,
    };
    Ok(work(&mut session))
}

#[cfg(any(feature = "flex", feature = "ndarray"))]
fn on_burn<B: briquette_engine::burn::DecoderBackend, R>(
    place: &Place,
    blob: Blob<'_>,
    device: &B::Device,
    work: impl FnOnce(&mut dyn Executor<'_>) -> R,
) -> Result<R, ExecutorError> {
    use briquette_engine::burn::{BurnSession, DevicePlan};

    let plan = DevicePlan::new::<B>(&blob, &place.options)?;
    if let Some(free) = crate::measure::free_memory() {
        plan.check(free)?;
    }
    let mut session = BurnSession::<B>::new(blob, place.options, device)?;
    Ok(work(&mut session))
}
