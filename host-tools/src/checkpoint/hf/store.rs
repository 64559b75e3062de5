//! The weights of a folder, read row by row into bounded buffers.
//!
//! Plain reads instead of a memory map: resident memory is part of what the
//! packer promises, and mapped pages would count.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::blocks::{self, BlockScales, BlockSize};
use super::dtypes;
use super::header::{Shard, TensorEntry};
use super::shards;
use super::wrappers::Wrappers;
use crate::checkpoint::{Encoding, ImportError, Rows, StoredTensor, TensorStore};

/// Bytes read from a file at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The tensors of one or more safetensors files.
#[derive(Debug)]
pub struct SafetensorsStore {
    shards: Vec<Shard>,
    tensors: HashMap<String, (usize, TensorEntry)>,
    block_size: Option<BlockSize>,
    buffer: Vec<u8>,
}

impl SafetensorsStore {
    /// Opens the weights of `folder`; FP8 tensors have scales for blocks of
    /// `block_size`.
    ///
    /// # Errors
    /// If the files are absent or broken.
    pub(super) fn open(folder: &Path, block_size: Option<BlockSize>) -> Result<Self, ImportError> {
        let (shards, stored) = shards::open(folder)?;
        let wrappers = Wrappers::detect(stored.keys().map(String::as_str));
        let mut tensors = HashMap::new();
        for (name, place) in stored {
            let canonical = wrappers.canonical(&name);
            let (shard, _) = place;
            if tensors.insert(canonical.clone(), place).is_some() {
                let what = format!("tensor `{name}` is another spelling of one that is there too");
                return Err(ImportError::Malformed {
                    path: shards[shard].path().to_owned(),
                    what,
                });
            }
        }
        Ok(Self {
            shards,
            tensors,
            block_size,
            buffer: Vec::new(),
        })
    }

    /// Whether there is a tensor called `name`.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether the tensor holds the scales of an FP8 tensor.
    fn is_scale(&self, name: &str) -> bool {
        let scaled = name
            .strip_suffix(blocks::SCALES)
            .and_then(|name| self.tensors.get(name));
        let is_fp8 = |(_, entry): &(usize, TensorEntry)| {
            dtypes::encoding(entry.dtype) == Some(Encoding::F8_E4M3)
        };
        scaled.is_some_and(is_fp8)
    }

    fn located(&self, name: &str) -> Result<Located, ImportError> {
        let (shard, entry) = self
            .tensors
            .get(name)
            .ok_or_else(|| ImportError::MissingTensor {
                tensor: name.to_owned(),
            })?;
        let encoding = dtypes::encoding(entry.dtype).ok_or_else(|| ImportError::Unsupported {
            what: "element type",
            found: format!("{} of tensor `{name}`", entry.dtype),
            supported: dtypes::SUPPORTED.to_owned(),
        })?;
        let (cols, outer) = match entry.shape.split_last() {
            Some((&cols, outer)) => (cols, outer),
            None => (1, &[][..]),
        };
        Ok(Located {
            shard: *shard,
            encoding,
            start: entry.start,
            rows: outer.iter().product(),
            cols,
        })
    }

    /// Replaces `values` by stored numbers without any scale.
    fn read_plain(
        &mut self,
        name: &str,
        tensor: Located,
        rows: Range<u64>,
        values: &mut Vec<f32>,
    ) -> Result<(), ImportError> {
        values.clear();
        if rows.start > rows.end || rows.end > tensor.rows {
            return Err(ImportError::NoSuchRows {
                tensor: name.to_owned(),
                first: rows.start,
                last: rows.end,
            });
        }
        // The header's check bounds all of these by the file's length, except
        // the width of a tensor without rows.
        let row_bytes = tensor
            .cols
            .saturating_mul(tensor.encoding.block_bytes() as u64);
        let mut at = tensor.start + rows.start * row_bytes;
        let end = tensor.start + rows.end * row_bytes;
        values.reserve(((end - at) as usize) / tensor.encoding.block_bytes());
        while at < end {
            let len = (end - at).min(BUFFER_BYTES as u64);
            self.buffer.resize(len as usize, 0);
            self.shards[tensor.shard].read(at, &mut self.buffer)?;
            tensor
                .encoding
                .decode(&self.buffer, values, &mut Vec::new());
            at += len;
        }
        Ok(())
    }

    /// Finds and checks the scales of the FP8 tensor `name`.
    fn scales(&self, name: &str) -> Result<(BlockScales, Located), ImportError> {
        let unsupported = |found: String| ImportError::Unsupported {
            what: "quantised tensor",
            found,
            supported: "F8_E4M3 matrices with `quantization_config.weight_block_size` in \
                        config.json and a `weight_scale_inv` tensor"
                .to_owned(),
        };
        let Some(block_size) = self.block_size else {
            let found = format!("`{name}`, F8_E4M3 without a block size in config.json");
            return Err(unsupported(found));
        };
        let shape = &self.tensors[name].1.shape;
        let scales = BlockScales::new(name, shape, block_size)
            .ok_or_else(|| unsupported(format!("`{name}`, F8_E4M3 of shape {shape:?}")))?;
        let located = self.located(&scales.tensor)?;
        if located.encoding == Encoding::F8_E4M3 {
            return Err(unsupported(format!(
                "`{}`, scales in F8_E4M3",
                scales.tensor
            )));
        }
        let found = &self.tensors[&scales.tensor].1.shape;
        if *found != scales.shape {
            return Err(ImportError::Shape {
                tensor: scales.tensor,
                found: found.clone(),
                expected: scales.shape,
            });
        }
        Ok((scales, located))
    }

    /// Multiplies FP8 rows by the scales of their blocks.
    fn apply_scales(
        &mut self,
        name: &str,
        first_row: u64,
        values: &mut [f32],
    ) -> Result<(), ImportError> {
        let (scales, located) = self.scales(name)?;
        let mut row_scales = Vec::new();
        let mut loaded = None;
        // An empty tensor has no rows to scale, and chunks need a length.
        for (row, values) in (first_row..).zip(values.chunks_mut(scales.cols.max(1))) {
            let scale_row = scales.scale_row(row);
            if loaded != Some(scale_row) {
                let rows = scale_row..scale_row + 1;
                self.read_plain(&scales.tensor, located, rows, &mut row_scales)?;
                scales.check(scale_row, &row_scales)?;
                loaded = Some(scale_row);
            }
            scales.multiply(&row_scales, values);
        }
        Ok(())
    }
}

impl TensorStore for SafetensorsStore {
    fn find(&self, name: &str) -> Option<StoredTensor> {
        let (_, entry) = self.tensors.get(name)?;
        Some(StoredTensor {
            shape: entry.shape.clone(),
            encoding: dtypes::encoding(entry.dtype),
        })
    }

    fn names(&self) -> Vec<String> {
        let is_read = |name: &&String| !self.is_scale(name);
        self.tensors.keys().filter(is_read).cloned().collect()
    }

    fn read_rows(
        &mut self,
        name: &str,
        rows: Range<u64>,
        out: &mut Rows,
    ) -> Result<(), ImportError> {
        let tensor = self.located(name)?;
        let first_row = rows.start;
        self.read_plain(name, tensor, rows, &mut out.values)?;
        out.cols = tensor.cols as usize;
        out.grids.clear();
        if tensor.encoding == Encoding::F8_E4M3 {
            self.apply_scales(name, first_row, &mut out.values)?;
        }
        Ok(())
    }
}

/// A tensor of a supported format, as rows.
#[derive(Debug, Clone, Copy)]
struct Located {
    shard: usize,
    encoding: Encoding,
    start: u64,
    rows: u64,
    cols: u64,
}
