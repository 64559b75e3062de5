//! One safetensors file: its header, read and checked before any weight is.
//!
//! The format: a little-endian `u64` length, that many bytes of JSON, then the
//! tensors' bytes without gaps.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::files;
use crate::checkpoint::{ImportError, stranger};

/// The largest header accepted, as in the format's own reader.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes of the header's length.
const LENGTH_BYTES: u64 = 8;

/// An open safetensors file.
#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    file: File,
    data_start: u64,
}

/// Where a tensor lies in its file, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorEntry {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<u64>,
    /// First byte, counted from the start of the file's data.
    pub(super) start: u64,
}

impl Shard {
    /// Opens `path` and checks its header: that it is JSON, that no name occurs
    /// twice, that the tensors follow each other without gap or overlap,
    /// have as many bytes as shape and type ask for, and fill the file exactly.
    ///
    /// # Errors
    /// If any of this does not hold, or reading fails.
    pub(super) fn open(path: &Path) -> Result<(Self, HashMap<String, TensorEntry>), ImportError> {
        let mut file = files::open(path)?;
        let file_bytes = file
            .metadata()
            .map_err(|source| io_error(path, source))?
            .len();
        let header = read_header(path, &mut file, file_bytes)?;
        let metadata =
            parse(&header).map_err(|error| malformed(path, format!("header: {error}")))?;
        let data_start = LENGTH_BYTES + header.len() as u64;
        let (stated, found) = (metadata.data_len() as u64, file_bytes - data_start);
        if stated != found {
            let what = format!(
                "the header describes {stated} bytes of tensors, the file has {found}; \
                 download it again"
            );
            return Err(malformed(path, what));
        }
        let shard = Self {
            path: path.to_owned(),
            file,
            data_start,
        };
        Ok((shard, entries(&metadata)))
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buffer` from byte `start` of the file's data.
    ///
    /// # Errors
    /// If reading fails or the file has become shorter.
    pub(super) fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), ImportError> {
        let start = self.data_start.saturating_add(start);
        let seek = self.file.seek(SeekFrom::Start(start));
        seek.and_then(|_| self.file.read_exact(buffer))
            .map_err(|source| io_error(&self.path, source))
    }
}

/// The header's JSON; allocates no more than the file can have of it.
fn read_header(path: &Path, file: &mut File, file_bytes: u64) -> Result<Vec<u8>, ImportError> {
    if let Some(what) = not_safetensors(path) {
        return Err(malformed(
            path,
            format!("not a safetensors file: it {what}"),
        ));
    }
    let Some(room) = file_bytes.checked_sub(LENGTH_BYTES) else {
        let what = format!("is {file_bytes} bytes long, too short for a safetensors file");
        return Err(malformed(path, what));
    };
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length)
        .map_err(|source| io_error(path, source))?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > room.min(MAX_HEADER_BYTES) {
        let what = format!(
            "states a header of {header_bytes} bytes, but the file has {room} bytes for it \
             and at most {MAX_HEADER_BYTES} are accepted; is the file cut off?"
        );
        return Err(malformed(path, what));
    }
    let mut header = vec![0; header_bytes as usize];
    file.read_exact(&mut header)
        .map_err(|source| io_error(path, source))?;
    Ok(header)
}

/// What the file is instead, if it is something known.
fn not_safetensors(path: &Path) -> Option<String> {
    let head = stranger::head(path).ok()?;
    match stranger::is_safetensors(&head) {
        true => None,
        false => stranger::describe_binary(&head),
    }
}

fn io_error(path: &Path, source: io::Error) -> ImportError {
    ImportError::Io {
        path: path.to_owned(),
        source,
    }
}

fn malformed(path: &Path, what: String) -> ImportError {
    ImportError::Malformed {
        path: path.to_owned(),
        what,
    }
}

fn parse(header: &[u8]) -> Result<Metadata, serde_json::Error> {
    serde_json::from_slice::<DistinctNames>(header)?;
    serde_json::from_slice(header)
}

fn entries(metadata: &Metadata) -> HashMap<String, TensorEntry> {
    let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let entry = TensorEntry {
            dtype: info.dtype,
            shape: info.shape.iter().map(|&dim| dim as u64).collect(),
            start: info.data_offsets.0 as u64,
        };
        (name, entry)
    };
    metadata.tensors().into_iter().map(entry).collect()
}

/// A JSON object that is only checked for keys that occur twice, which the map
/// inside [`Metadata`] would not notice.
struct DistinctNames;

impl<'de> Deserialize<'de> for DistinctNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = DistinctNames;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctNames, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format!(
                    "tensor `{twice}` stands there twice"
                )));
            }
        }
        Ok(DistinctNames)
    }
}
