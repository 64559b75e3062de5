//! A briquette on disk that is not mapped: its experts are read when tokens
//! choose them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use briquette_engine::blob::{Blob, BlobError};
use briquette_engine::storage::{BlockStorage, ReadFailed, load};
use briquette_engine::{EngineError, StorageTraffic};

use crate::run::{Arena, BriqFile, LoadError, Pages};

/// A briquette to be run, and where its experts are.
#[derive(Debug)]
pub enum Briquette {
    /// All of it is in memory.
    Mapped(BriqFile),
    /// All but the experts is in memory.
    Stored(StoredFile),
}

impl Briquette {
    /// Opens the file at `path`: in memory as `pages` say, or stored if experts
    /// are to be kept in slots.
    ///
    /// # Errors
    /// If it cannot be read or is not a usable briquette.
    pub fn open(path: &Path, pages: Pages, expert_slots: Option<u32>) -> Result<Self, LoadError> {
        match expert_slots {
            None => BriqFile::open_in(path, pages).map(Self::Mapped),
            Some(_) => StoredFile::open(path).map(Self::Stored),
        }
    }

    /// What is in memory, and what the experts are read from.
    ///
    /// # Errors
    /// If it is not a usable briquette.
    pub fn parts(&mut self) -> Result<(Blob<'_>, Option<&mut FileStorage>), LoadError> {
        match self {
            Self::Mapped(file) => Ok((file.blob()?, None)),
            Self::Stored(file) => {
                let (blob, storage) = file.parts()?;
                Ok((blob, Some(storage)))
            }
        }
    }
}

/// A file of which all but the experts is in memory.
#[derive(Debug)]
pub struct StoredFile {
    storage: FileStorage,
    resident: Arena,
}

impl StoredFile {
    /// Reads all but the experts of the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read or is not a usable briquette.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        // Mapping costs nothing, and says the same of what is no briquette.
        let bytes = BriqFile::open(path)?.blob()?.loaded_bytes();
        let io = |source| LoadError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let bytes_there = file.metadata().map_err(io)?.len();
        let mut stored = Self {
            storage: FileStorage {
                path: path.to_owned(),
                file,
                bytes: bytes_there,
            },
            resident: Arena::with_bytes(bytes)?,
        };
        load(&mut stored.storage, stored.resident.bytes_mut()).map_err(|error| match error {
            EngineError::Blob(source) => stored.storage.refuse(source),
            error => error.into(),
        })?;
        Ok(stored)
    }

    /// What is in memory, and what the experts are read from.
    ///
    /// # Errors
    /// If it is not a usable briquette.
    pub fn parts(&mut self) -> Result<(Blob<'_>, &mut FileStorage), LoadError> {
        let blob = Blob::open_without_experts(self.resident.bytes());
        let blob = blob.map_err(|source| self.storage.refuse(source))?;
        Ok((blob, &mut self.storage))
    }
}

/// A file, read a piece at a time.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl FileStorage {
    fn refuse(&self, source: BlobError) -> LoadError {
        LoadError::Blob {
            path: self.path.clone(),
            source,
        }
    }
}

impl BlockStorage for FileStorage {
    fn capacity(&self) -> u64 {
        self.bytes
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadFailed> {
        let found = self.file.seek(SeekFrom::Start(offset));
        found
            .and_then(|_| self.file.read_exact(bytes))
            .map_err(|error| {
                tracing::error!("{}: {error}", self.path.display());
                ReadFailed
            })
    }
}

/// The share of experts that were in memory, in percent; `None` if none was
/// asked for.
pub fn hit_rate(traffic: &StorageTraffic) -> Option<f64> {
    let fetched = traffic.hits + traffic.misses;
    (fetched > 0).then(|| 100.0 * traffic.hits as f64 / fetched as f64)
}
