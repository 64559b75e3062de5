//! The header of a GGUF file: metadata and the table of tensors.
//!
//! Nothing in the file is trusted: no count or length makes us allocate more
//! than the file's own size allows.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use super::codes;
use super::metadata::{Metadata, Value, ValueType};
use crate::checkpoint::{Encoding, ImportError, stranger};

/// The table of tensors and where their bytes start.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) metadata: Metadata,
    pub(super) tensors: HashMap<String, Stored>,
}

/// One tensor's place.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Outermost dimension first.
    pub(super) shape: Vec<u64>,
    pub(super) encoding: Encoding,
    /// First byte in the file.
    pub(super) offset: u64,
    /// All bytes.
    pub(super) bytes: u64,
}

/// Most dimensions of a ggml tensor.
const MAX_DIMENSIONS: u32 = 4;

/// Reads and checks everything before the tensors' bytes.
pub(super) fn read(path: &Path, file: &File) -> Result<Contents, ImportError> {
    let size = file.metadata().map_err(|source| ImportError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut reader = Reader {
        path: path.to_owned(),
        input: BufReader::with_capacity(1 << 16, file),
        left: size.len(),
        size: size.len(),
    };
    reader.contents()
}

/// Reads numbers and strings, never past the end of the file.
struct Reader<'a> {
    path: PathBuf,
    input: BufReader<&'a File>,
    left: u64,
    size: u64,
}

impl Reader<'_> {
    fn contents(&mut self) -> Result<Contents, ImportError> {
        if self.size < 4 || self.bytes::<4>()? != *b"GGUF" {
            return Err(self.stranger());
        }
        let version = self.u32()?;
        if version != 2 && version != 3 {
            let hint = if version.swap_bytes() == 3 {
                " (a big-endian file)"
            } else {
                ""
            };
            return Err(ImportError::Unsupported {
                what: "GGUF version",
                found: format!("{version}{hint}"),
                supported: "2, 3".into(),
            });
        }
        let tensor_count = self.u64()?;
        let key_count = self.u64()?;
        // A tensor takes at least 32 bytes of table, a key at least 13.
        self.require(tensor_count, 32, "tensor count")?;
        self.require(key_count, 13, "key count")?;
        let metadata = self.metadata(key_count)?;
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(value) => value.as_u64().unwrap_or(0),
        };
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return Err(self.malformed(&format!(
                "`general.alignment` is {alignment}, expected a power of two"
            )));
        }
        if let Some(count) = metadata.get("split.count").and_then(Value::as_u64)
            && count > 1
        {
            return Err(ImportError::Unsupported {
                what: "GGUF split into files",
                found: format!("split.count = {count}"),
                supported: "single files; join the parts with `llama-gguf-split --merge`".into(),
            });
        }
        let mut table = Vec::new();
        for _ in 0..tensor_count {
            table.push(self.tensor()?);
        }
        let position = self.input.stream_position().map_err(|e| self.io(e))?;
        let start = position
            .checked_next_multiple_of(alignment)
            .ok_or_else(|| self.malformed("the table ends beyond 64 bits"))?;
        let tensors = self.place(table, start, alignment)?;
        Ok(Contents { metadata, tensors })
    }

    fn metadata(&mut self, count: u64) -> Result<Metadata, ImportError> {
        let mut entries = HashMap::new();
        for _ in 0..count {
            let key = self.name()?;
            let value_type = self.value_type(&key)?;
            let value = self.value(&key, value_type)?;
            if entries.insert(key.clone(), value).is_some() {
                return Err(self.malformed(&format!("key `{key}` occurs twice")));
            }
        }
        Ok(Metadata::new(self.path.clone(), entries))
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType, ImportError> {
        let code = self.u32()?;
        ValueType::from_code(code)
            .ok_or_else(|| self.malformed(&format!("key `{key}`: unknown value type {code}")))
    }

    fn value(&mut self, key: &str, value_type: ValueType) -> Result<Value, ImportError> {
        Ok(match value_type {
            ValueType::U8 => Value::Unsigned(self.bytes::<1>()?[0].into()),
            ValueType::I8 => Value::Signed(i8::from_le_bytes(self.bytes()?).into()),
            ValueType::U16 => Value::Unsigned(u16::from_le_bytes(self.bytes()?).into()),
            ValueType::I16 => Value::Signed(i16::from_le_bytes(self.bytes()?).into()),
            ValueType::U32 => Value::Unsigned(self.u32()?.into()),
            ValueType::I32 => Value::Signed(i32::from_le_bytes(self.bytes()?).into()),
            ValueType::U64 => Value::Unsigned(self.u64()?),
            ValueType::I64 => Value::Signed(i64::from_le_bytes(self.bytes()?)),
            ValueType::F32 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            ValueType::F64 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            ValueType::Bool => match self.bytes::<1>()?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => {
                    return Err(self.malformed(&format!("key `{key}`: {other} is no boolean")));
                }
            },
            ValueType::String => match String::from_utf8(self.string()?) {
                Ok(text) => Value::String(text),
                Err(error) => Value::Bytes(error.into_bytes()),
            },
            ValueType::Array => self.array(key)?,
        })
    }

    fn array(&mut self, key: &str) -> Result<Value, ImportError> {
        let item = self.value_type(key)?;
        if item == ValueType::Array {
            return Err(self.malformed(&format!("key `{key}`: an array of arrays")));
        }
        let count = self.u64()?;
        self.require(count, item.least_bytes(), "array length")?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(key, item)?);
        }
        Ok(Value::Array(values))
    }

    /// One entry of the table: name and place, relative to the data.
    fn tensor(&mut self) -> Result<(String, Stored), ImportError> {
        let name = self.name()?;
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(self.malformed(&format!("tensor `{name}` has {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.u64()?);
        }
        let code = self.u32()?;
        let encoding = codes::from_code(code).ok_or_else(|| ImportError::Unsupported {
            what: "GGUF tensor type",
            found: format!("{} of tensor {name}", codes::name_of(code)),
            supported: codes::SUPPORTED.into(),
        })?;
        let offset = self.u64()?;
        let cols = shape[0];
        if cols % encoding.block_len() as u64 != 0 {
            return Err(self.malformed(&format!(
                "tensor `{name}`: rows of {cols} are no whole blocks of {encoding:?}"
            )));
        }
        let count = shape.iter().try_fold(1_u64, |n, d| n.checked_mul(*d));
        let bytes = count
            .map(|count| count / encoding.block_len() as u64)
            .and_then(|blocks| blocks.checked_mul(encoding.block_bytes() as u64))
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| {
                self.malformed(&format!("tensor `{name}` has impossible size {shape:?}"))
            })?;
        shape.reverse();
        let stored = Stored {
            shape,
            encoding,
            offset,
            bytes,
        };
        Ok((name, stored))
    }

    /// Checks that the tensors lie inside the file and apart from each other.
    fn place(
        &self,
        table: Vec<(String, Stored)>,
        start: u64,
        alignment: u64,
    ) -> Result<HashMap<String, Stored>, ImportError> {
        let mut tensors = HashMap::new();
        let mut extents = Vec::new();
        for (name, mut stored) in table {
            if stored.offset % alignment != 0 {
                return Err(self.malformed(&format!(
                    "tensor `{name}` starts at {}, not a multiple of {alignment}",
                    stored.offset
                )));
            }
            let end = stored
                .offset
                .checked_add(start)
                .and_then(|offset| Some((offset, offset.checked_add(stored.bytes)?)));
            let Some((offset, end)) = end.filter(|(_, end)| *end <= self.size) else {
                return Err(self.malformed(&format!(
                    "tensor `{name}` ends past the end of the file ({} bytes)",
                    self.size
                )));
            };
            stored.offset = offset;
            extents.push((offset, end, name.clone()));
            if tensors.insert(name.clone(), stored).is_some() {
                return Err(self.malformed(&format!("tensor `{name}` occurs twice")));
            }
        }
        extents.sort();
        for pair in extents.windows(2) {
            if pair[0].1 > pair[1].0 {
                return Err(self.malformed(&format!(
                    "tensors `{}` and `{}` overlap",
                    pair[0].2, pair[1].2
                )));
            }
        }
        Ok(tensors)
    }

    /// The name of a key or tensor. One that is not UTF-8 is none that is known,
    /// so that it may be read as something like it.
    fn name(&mut self) -> Result<String, ImportError> {
        Ok(String::from_utf8_lossy(&self.string()?).into_owned())
    }

    fn string(&mut self) -> Result<Vec<u8>, ImportError> {
        let len = self.u64()?;
        self.require(len, 1, "string length")?;
        self.left -= len;
        let mut bytes = vec![0; len as usize];
        self.input
            .read_exact(&mut bytes)
            .map_err(|error| self.io(error))?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, ImportError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, ImportError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ImportError> {
        self.require(N as u64, 1, "header")?;
        self.left -= N as u64;
        let mut bytes = [0; N];
        self.input
            .read_exact(&mut bytes)
            .map_err(|error| self.io(error))?;
        Ok(bytes)
    }

    /// Whether the rest of the file can hold `count` things of `each` bytes.
    fn require(&self, count: u64, each: u64, what: &str) -> Result<(), ImportError> {
        match count.checked_mul(each) {
            Some(bytes) if bytes <= self.left => Ok(()),
            _ => Err(self.malformed(&format!(
                "the file ends early: {what} {count} needs more than the {} bytes left",
                self.left
            ))),
        }
    }

    /// The error for a file that is no GGUF file.
    fn stranger(&self) -> ImportError {
        let head = stranger::head(&self.path).unwrap_or_default();
        let what = stranger::describe_binary(&head)
            .unwrap_or_else(|| "does not start with `GGUF`".to_owned());
        self.malformed(&format!("not a GGUF file: it {what}"))
    }

    fn malformed(&self, what: &str) -> ImportError {
        ImportError::Malformed {
            path: self.path.clone(),
            what: what.to_owned(),
        }
    }

    fn io(&self, source: io::Error) -> ImportError {
        ImportError::Io {
            path: self.path.clone(),
            source,
        }
    }
}
