//! An open GGUF file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::metadata::Metadata;
use super::reader::{self, Contents};
use super::tokenizer::GgufTokenizer;
use crate::checkpoint::{ImportError, Rows, StoredTensor, TensorStore};

/// A GGUF file whose header has been checked.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: File,
    contents: Contents,
    buffer: Vec<u8>,
}

impl Gguf {
    /// Opens and checks the file at `path`; reads no weights yet.
    ///
    /// # Errors
    /// If it cannot be read or is not a sound GGUF file of a known version.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let file = File::open(path).map_err(|source| ImportError::Io {
            path: path.to_owned(),
            source,
        })?;
        let contents = reader::read(path, &file)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            contents,
            buffer: Vec::new(),
        })
    }

    /// The tokenizer's metadata, if the file has any.
    ///
    /// # Errors
    /// If it is incomplete.
    pub fn tokenizer(&self) -> Result<Option<GgufTokenizer>, ImportError> {
        GgufTokenizer::read(self.metadata())
    }

    pub(super) const fn metadata(&self) -> &Metadata {
        &self.contents.metadata
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.contents.tensors.contains_key(name)
    }
}

impl TensorStore for Gguf {
    fn find(&self, name: &str) -> Option<StoredTensor> {
        let stored = self.contents.tensors.get(name)?;
        Some(StoredTensor {
            shape: stored.shape.clone(),
            encoding: Some(stored.encoding),
        })
    }

    fn names(&self) -> Vec<String> {
        self.contents.tensors.keys().cloned().collect()
    }

    fn read_rows(
        &mut self,
        name: &str,
        rows: Range<u64>,
        out: &mut Rows,
    ) -> Result<(), ImportError> {
        let stored = self
            .contents
            .tensors
            .get(name)
            .ok_or_else(|| ImportError::MissingTensor {
                tensor: name.to_owned(),
            })?;
        let cols = stored.shape.last().copied().unwrap_or(1);
        let encoding = stored.encoding;
        let row_bytes = cols / encoding.block_len() as u64 * encoding.block_bytes() as u64;
        let available = stored.bytes / row_bytes.max(1);
        if rows.start > rows.end || rows.end > available {
            return Err(ImportError::NoSuchRows {
                tensor: name.to_owned(),
                first: rows.start,
                last: rows.end,
            });
        }
        let start = stored.offset + rows.start * row_bytes;
        let bytes = ((rows.end - rows.start) * row_bytes) as usize;
        self.buffer.resize(bytes, 0);
        let buffer = &mut self.buffer;
        self.file
            .seek(SeekFrom::Start(start))
            .and_then(|_| self.file.read_exact(buffer))
            .map_err(|source| ImportError::Io {
                path: self.path.clone(),
                source,
            })?;
        out.cols = cols as usize;
        out.values.clear();
        out.grids.clear();
        encoding.decode(buffer, &mut out.values, &mut out.grids);
        Ok(())
    }
}
