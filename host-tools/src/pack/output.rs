//! A file that appears complete or not at all.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use briquette_engine::blob::{ALIGNMENT, Header, trailer};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::PackError;
use crate::support::files;

/// A briquette being written, under a temporary name next to its own.
pub(super) struct Output {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    digest: Sha256,
    payload_len: u64,
}

impl Output {
    /// Opens a temporary file in the folder of `path` and leaves room for
    /// `header` and the manifest, whose length it has.
    pub(super) fn create(path: &Path, header: &Header) -> Result<Self, PackError> {
        let fail = |source| PackError::Write {
            path: path.to_owned(),
            source,
        };
        let file = files::partial(path).map_err(fail)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.seek(SeekFrom::Start(header.payload_offset))
            .map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            digest: Sha256::new(),
            payload_len: 0,
        })
    }

    /// Appends to the payload.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.digest.update(bytes);
        self.payload_len += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| self.failed(e))
    }

    /// Fills the payload with zeros up to the next multiple of 64.
    pub(super) fn align(&mut self) -> Result<(), PackError> {
        let padding = self.payload_len.next_multiple_of(ALIGNMENT) - self.payload_len;
        self.write(&[0; ALIGNMENT as usize][..padding as usize])
    }

    /// Bytes of the payload so far.
    pub(super) const fn payload_len(&self) -> u64 {
        self.payload_len
    }

    /// Writes trailer, header and manifest, and gives the file its name.
    /// Returns the bytes of the file.
    pub(super) fn finish(mut self, header: &Header, manifest: &[u8]) -> Result<u64, PackError> {
        let encoded = header.encode(manifest);
        let end = trailer(&encoded, manifest, self.digest.clone().finalize().into());
        let trailer_at = header.trailer_offset().ok_or(PackError::TooLarge)?;
        let mut finish = || -> io::Result<()> {
            let padding = trailer_at - header.payload_offset - self.payload_len;
            self.file
                .write_all(&[0; ALIGNMENT as usize][..padding as usize])?;
            self.file.write_all(&end)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&encoded)?;
            self.file.write_all(manifest)?;
            let gap = header.payload_offset - (encoded.len() + manifest.len()) as u64;
            self.file
                .write_all(&[0; ALIGNMENT as usize][..gap as usize])?;
            self.file.flush()
        };
        finish().map_err(|e| self.failed(e))?;
        let path = self.path.clone();
        let fail = |source| PackError::Write {
            path: path.clone(),
            source,
        };
        let file = self.file.into_inner().map_err(|e| fail(e.into_error()))?;
        files::keep(file, &path).map_err(fail)?;
        Ok(trailer_at + end.len() as u64)
    }

    fn failed(&self, source: io::Error) -> PackError {
        PackError::Write {
            path: self.path.clone(),
            source,
        }
    }
}
