//! A briquette on disk, mapped, and the memory to run it in.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use briquette_engine::EngineError;
use briquette_engine::blob::{Blob, BlobError};
use briquette_engine::cpu::{ArenaLine, Plan};
use memmap2::Mmap;

/// Why a briquette could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be opened or mapped.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a usable briquette.
    #[error("{}: {source}", path.display())]
    Blob {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BlobError,
    },
    /// The file is a checkpoint that has not been pressed.
    #[error(
        "{path} is a GGUF checkpoint, not a briquette; press it first: \
         briquette pack {path} -o OUT.briq",
        path = path.display()
    )]
    NotPressed {
        /// The file.
        path: PathBuf,
    },
    /// The system has not enough memory.
    #[error("{bytes} bytes of memory are needed and could not be had; try a smaller --context")]
    Memory {
        /// Bytes of the arena.
        bytes: u64,
    },
    /// The plan was refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A mapped file.
#[derive(Debug)]
pub struct BriqFile {
    path: PathBuf,
    map: Mmap,
}

impl BriqFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let fail = |source| LoadError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            let what = "is a folder; a briquette is a file made by `briquette pack`";
            return Err(fail(io::Error::other(what)));
        }
        // SAFETY: the map is read-only. As with any mapped file, another
        // process that truncates it while we read ends ours with a signal;
        // briquettes are replaced by renaming, never changed in place.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            map,
        })
    }

    /// Checks the file and opens it.
    ///
    /// # Errors
    /// If it is not a usable briquette.
    pub fn blob(&self) -> Result<Blob<'_>, LoadError> {
        let path = || self.path.clone();
        if self.map.starts_with(b"GGUF") {
            return Err(LoadError::NotPressed { path: path() });
        }
        Blob::open(&self.map).map_err(|source| LoadError::Blob {
            path: path(),
            source,
        })
    }
}

/// The one piece of memory that a session works in.
#[derive(Debug)]
pub struct Arena(Vec<ArenaLine>);

impl Arena {
    /// Exactly as many bytes as `plan` asks for.
    ///
    /// # Errors
    /// If the system does not have them.
    pub fn for_plan(plan: &Plan) -> Result<Self, LoadError> {
        let bytes = plan.arena_bytes();
        let fail = || LoadError::Memory { bytes };
        let lines = bytes.div_ceil(size_of::<ArenaLine>() as u64);
        let lines = usize::try_from(lines).map_err(|_| fail())?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(lines).map_err(|_| fail())?;
        memory.resize(lines, bytemuck::Zeroable::zeroed());
        Ok(Self(memory))
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}
