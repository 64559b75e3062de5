//! Where a model runs: the engine's executors, by name.

use briquette_engine::{EngineError, PlanOptions};

use super::LoadError;

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
    /// A graphics processor, through Vulkan, Metal or DirectX; needs a build
    /// with `--features wgpu`
    Wgpu,
    /// An NVIDIA GPU; needs a build with `--features cuda`
    Cuda,
}

impl Backend {
    /// The name that people type and see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// What a conversation is planned with, where the file was packed for
    /// `packed`.
    pub fn plan(self, packed: PlanOptions) -> PlanOptions {
        PlanOptions {
            batch: match self {
                Self::Cpu => packed.batch.max(HOST_BATCH),
                _ => packed.batch,
            },
            ..packed
        }
    }
}

/// Why no session could be opened.
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
    /// There is no driver, or it finds no device.
    #[cfg(feature = "wgpu")]
    #[error(
        "no graphics processor was found; on Linux a Vulkan driver is needed \
         (Debian: mesa-vulkan-drivers has one for most, and one in software)"
    )]
    NoAdapter,
    /// There is no NVIDIA GPU to use.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::run::cuda::CudaError),
    /// The system refused to start threads.
    #[error("starting threads: {0}")]
    Threads(String),
    /// There is not enough memory.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine refused.
    #[error("{0}{advice}", advice = advice(.0))]
    Engine(#[from] EngineError),
}

/// What to type next, where the engine cannot know it.
const fn advice(error: &EngineError) -> &'static str {
    match error {
        EngineError::NoMtpLayer => "; pack it with --mtp",
        _ => "",
    }
}

/// Tokens that prefill takes at a time on a computer's processor, whatever the
/// file was packed for: enough that an expert which some tokens chose has a full
/// tile of them.
pub(crate) const HOST_BATCH: u32 = 128;
