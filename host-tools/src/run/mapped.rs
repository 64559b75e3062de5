//! A briquette on disk, mapped or read whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use briquette_engine::EngineError;
use briquette_engine::blob::{Blob, BlobError};
use memmap2::{Mmap, MmapMut};

use super::SignedUpdate;
use super::arena::ask_for_huge_pages;

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
    /// The file is a checkpoint that has not been packed.
    #[error(
        "{path} is a GGUF checkpoint, not a briquette; pack it first: \
         briquette pack {path} -o OUT.briq",
        path = path.display()
    )]
    NotPacked {
        /// The file.
        path: PathBuf,
    },
    /// The file is an update for a device.
    #[error(
        "{path} is a signed update for a device, {update}, with a briquette in it; send it with: \
         briquette device update {path} --port PORT",
        path = path.display()
    )]
    SignedUpdate {
        /// The file.
        path: PathBuf,
        /// Which one.
        update: String,
    },
    /// The system does not have enough memory.
    #[error(
        "{bytes} bytes of memory are needed and could not be allocated; try a smaller --context"
    )]
    Memory {
        /// Bytes of the arena.
        bytes: u64,
    },
    /// The plan was refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// How a briquette's bytes come into memory, once in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Pages {
    /// Mapped from the file: opening takes no time
    #[default]
    Mapped,
    /// Read once into huge pages: opening takes a while, then reading is faster
    Huge,
}

/// A file in memory.
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
        Self::open_in(path, Pages::Mapped)
    }

    /// Maps the file at `path` or reads it.
    ///
    /// # Errors
    /// If it cannot be opened or read.
    #[expect(unsafe_code, reason = "maps a file, which others could truncate")]
    pub fn open_in(path: &Path, pages: Pages) -> Result<Self, LoadError> {
        let fail = |source| LoadError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            let what = "is a folder; a briquette is a file made by `briquette pack`";
            return Err(fail(io::Error::other(what)));
        }
        let map = match pages {
            Pages::Huge => read_into_huge_pages(file),
            // SAFETY: the map is read-only. As with any mapped file, another
            // process that truncates it while we read ends ours with a signal;
            // briquettes are replaced by renaming, never changed in place.
            Pages::Mapped => unsafe { Mmap::map(&file) },
        };
        let map = map.map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            map,
        })
    }

    /// What is signed, if the file is not a briquette but an update.
    pub fn update(&self) -> Option<SignedUpdate<'_>> {
        SignedUpdate::decode(&self.map)
    }

    /// Checks the file and opens it.
    ///
    /// # Errors
    /// If it is not a usable briquette.
    pub fn blob(&self) -> Result<Blob<'_>, LoadError> {
        let path = || self.path.clone();
        if self.map.starts_with(b"GGUF") {
            return Err(LoadError::NotPacked { path: path() });
        }
        if let Some(update) = self.update() {
            return Err(LoadError::SignedUpdate {
                path: path(),
                update: update.to_string(),
            });
        }
        Blob::open(&self.map).map_err(|source| LoadError::Blob {
            path: path(),
            source,
        })
    }
}

/// Reads all of `file` into memory that has huge pages where the system gives
/// any (Linux only).
fn read_into_huge_pages(mut file: File) -> io::Result<Mmap> {
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut map = MmapMut::map_anon(len)?;
    ask_for_huge_pages(&map);
    file.read_exact(&mut map)?;
    map.make_read_only()
}
