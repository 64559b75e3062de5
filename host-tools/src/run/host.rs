//! A session on this machine: what runs it, and the memory that it borrows.

use briquette_engine::blob::Blob;
use briquette_engine::cpu::Threads;
use briquette_engine::{Executor, Isa, Plan, PlanOptions, Session};

use super::{Arena, Backend, ExecutorError, FileStorage};

/// A backend, and the arena of the session that it runs.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use briquette::run::{Backend, BriqFile, Host};
/// use briquette_engine::PlanOptions;
///
/// let file = BriqFile::open("model.briq".as_ref())?;
/// let blob = file.blob()?;
/// let options = PlanOptions::packed(blob.manifest());
/// let mut host = Host::new(Backend::Cpu, 2);
/// let mut executor = host.executor(blob, None, options)?;
/// let logits = executor.prefill(&[1, 2, 3])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Host {
    backend: Backend,
    threads: usize,
    arena: Option<Arena>,
}

impl Host {
    /// No memory is taken yet. `threads` are those of [`Backend::Cpu`].
    pub const fn new(backend: Backend, threads: usize) -> Self {
        Self {
            backend,
            threads,
            arena: None,
        }
    }

    /// Opens a session of `blob`'s model: its context, batch and cache are in
    /// `options`. Experts come from `storage`, if there is one. The memory of
    /// the session before is freed first.
    ///
    /// # Errors
    /// If the backend is missing or does not have enough memory.
    pub fn executor<'a>(
        &'a mut self,
        blob: Blob<'a>,
        storage: Option<&'a mut FileStorage>,
        options: PlanOptions,
    ) -> Result<Box<dyn Executor<'a> + 'a>, ExecutorError> {
        match self.backend {
            Backend::Cpu => self.on_processor(blob, storage, options),
            #[cfg(feature = "flex")]
            Backend::Flex => {
                let free = crate::support::machine::free_memory();
                on_burn::<burn::backend::Flex>(blob, storage, options, free)
            }
            #[cfg(feature = "ndarray")]
            Backend::Ndarray => {
                let free = crate::support::machine::free_memory();
                on_burn::<burn::backend::NdArray>(blob, storage, options, free)
            }
            #[cfg(feature = "wgpu")]
            Backend::Wgpu if !briquette_engine::burn::cube::has_wgpu_device() => {
                Err(ExecutorError::NoAdapter)
            }
            // No interface says how much memory such a device has.
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => on_burn::<burn::backend::Wgpu>(blob, storage, options, None),
            #[cfg(feature = "cuda")]
            Backend::Cuda => {
                let gpu = super::cuda::probe()?;
                let shared = crate::support::machine::free_memory().filter(|_| gpu.is_integrated);
                let free = shared.unwrap_or(gpu.free);
                on_burn::<burn::backend::Cuda>(blob, storage, options, Some(free))
            }
            #[cfg(not(all(
                feature = "flex",
                feature = "ndarray",
                feature = "wgpu",
                feature = "cuda"
            )))]
            other => Err(ExecutorError::NotBuilt {
                backend: other.name(),
            }),
        }
    }

    fn on_processor<'a>(
        &'a mut self,
        blob: Blob<'a>,
        storage: Option<&'a mut FileStorage>,
        options: PlanOptions,
    ) -> Result<Box<dyn Executor<'a> + 'a>, ExecutorError> {
        let plan = Plan::new(blob.manifest(), options)?;
        // The old arena is freed before a new one is allocated.
        self.arena = None;
        let memory = self.arena.insert(Arena::for_plan(&plan)?).bytes_mut();
        let team = Threads::new(self.threads);
        let team = team.map_err(|error| ExecutorError::Threads(error.to_string()))?;
        let isa = Isa::detect();
        Ok(Box::new(match storage {
            None => Session::with_team(blob, &plan, memory, team, isa)?,
            Some(storage) => Session::with_storage(blob, storage, &plan, memory, team, isa)?,
        }))
    }
}

/// A session on burn's backend `B`, if a plan fits `free` bytes: with slots for
/// some of the experts if necessary.
#[cfg(any(
    feature = "flex",
    feature = "ndarray",
    feature = "wgpu",
    feature = "cuda"
))]
fn on_burn<'a, B: briquette_engine::burn::DecoderBackend>(
    blob: Blob<'a>,
    storage: Option<&'a mut FileStorage>,
    options: PlanOptions,
    free: Option<u64>,
) -> Result<Box<dyn Executor<'a> + 'a>, ExecutorError> {
    use briquette_engine::burn::{BurnSession, DevicePlan};

    let device = Default::default();
    let free = free.unwrap_or(u64::MAX);
    let asked = options.expert_slots;
    let (plan, options) = DevicePlan::fitting::<B>(&blob, options, free, &device)?;
    plan.check_buffers(B::largest_buffer(&device))?;
    if options.expert_slots > asked {
        let all = blob.manifest().expert_sizes().count;
        let slots = options.expert_slots;
        tracing::info!("{slots} of {all} experts fit the device's memory at a time");
    }
    Ok(Box::new(match storage {
        None => BurnSession::<B>::new(blob, options, &device)?,
        Some(storage) => BurnSession::with_storage(blob, storage, options, &device)?,
    }))
}
