//! Keys and values, and typed access to them.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use crate::checkpoint::ImportError;

/// The types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    pub(super) const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Fewest bytes of a value.
    pub(super) const fn least_bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::String | Self::Array | Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// A value, widened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    /// A string that is not UTF-8.
    Bytes(Vec<u8>),
    Array(Vec<Self>),
}

impl Value {
    pub(super) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            Self::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::String(value) => write!(f, "{value:?}"),
            Self::Bytes(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            Self::Array(values) => write!(f, "a list of {} values", values.len()),
        }
    }
}

/// All keys of a file.
#[derive(Debug)]
pub(super) struct Metadata {
    path: PathBuf,
    entries: HashMap<String, Value>,
}

impl Metadata {
    pub(super) const fn new(path: PathBuf, entries: HashMap<String, Value>) -> Self {
        Self { path, entries }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// A number that must be there, from 1 to 2^31.
    pub(super) fn size(&self, key: &str) -> Result<u32, ImportError> {
        self.size_or(key, None)
    }

    /// A number from 1 to 2^31, or the default where the key is absent.
    pub(super) fn size_or(&self, key: &str, default: Option<u32>) -> Result<u32, ImportError> {
        let Some(value) = self.get(key) else {
            return default.ok_or_else(|| self.missing(key));
        };
        // Some models give one number per layer; they must all be the same.
        let number = match value {
            Value::Array(values) => match values.split_first() {
                Some((first, rest)) if rest.iter().all(|value| value == first) => first.as_u64(),
                _ => None,
            },
            value => value.as_u64(),
        };
        number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (1..=1 << 31).contains(number))
            .ok_or_else(|| self.bad(key, "a number from 1 to 2^31, the same in all layers"))
    }

    /// A number that may be 0 or absent.
    pub(super) fn count(&self, key: &str) -> Result<u32, ImportError> {
        match self.get(key).map(Value::as_u64) {
            None | Some(Some(0)) => Ok(0),
            Some(_) => self.size(key),
        }
    }

    /// A finite number, or the default where the key is absent.
    pub(super) fn float_or(&self, key: &str, default: f64) -> Result<f64, ImportError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|value| value.is_finite())
                .ok_or_else(|| self.bad(key, "a finite number")),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.bad(key, "true or false")),
        }
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<&str>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(Value::Bytes(bytes)) => Err(self.not_utf8(key, bytes)),
            Some(_) => Err(self.bad(key, "a string")),
        }
    }

    /// A string for people: what is not UTF-8 in it is replaced, with a warning.
    pub(super) fn shown(&self, key: &str) -> Result<Option<String>, ImportError> {
        if let Some(Value::Bytes(bytes)) = self.get(key) {
            let text = String::from_utf8_lossy(bytes).into_owned();
            tracing::warn!(
                "{}: `{key}` is not UTF-8, read as `{text}`",
                self.path.display()
            );
            return Ok(Some(text));
        }
        Ok(self.string(key)?.map(str::to_owned))
    }

    pub(super) fn strings(&self, key: &str) -> Result<Vec<String>, ImportError> {
        let Some(Value::Array(values)) = self.get(key) else {
            return Err(self.missing(key));
        };
        values
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.clone()),
                Value::Bytes(bytes) => Err(self.not_utf8(key, bytes)),
                _ => Err(self.bad(key, "a list of strings")),
            })
            .collect()
    }

    pub(super) fn integers(&self, key: &str) -> Result<Vec<i32>, ImportError> {
        let Some(Value::Array(values)) = self.get(key) else {
            return Err(self.missing(key));
        };
        values
            .iter()
            .map(|value| {
                let number = match value {
                    Value::Signed(number) => i32::try_from(*number).ok(),
                    Value::Unsigned(number) => i32::try_from(*number).ok(),
                    _ => None,
                };
                number.ok_or_else(|| self.bad(key, "a list of integers"))
            })
            .collect()
    }

    /// The id of one of `count` tokens. -1, also as 2^32 - 1, stands for none:
    /// llama.cpp writes that.
    ///
    /// Where llama.cpp warns of an id without a token and takes another one
    /// instead, this is an error: no token would end the answer, or a wrong one.
    pub(super) fn token(&self, key: &str, count: usize) -> Result<Option<u32>, ImportError> {
        let id = match self.get(key) {
            None | Some(Value::Signed(-1)) => return Ok(None),
            Some(value) => value.as_u64(),
        };
        if id == Some(u32::MAX.into()) {
            return Ok(None);
        }
        id.and_then(|id| u32::try_from(id).ok())
            .filter(|id| (*id as usize) < count)
            .map(Some)
            .ok_or_else(|| {
                let expected = format!(
                    "the id of one of the {count} tokens; correct or remove the key \
                     (`--no-tokenizer` leaves the tokenizer out)"
                );
                self.bad(key, &expected)
            })
    }

    fn not_utf8(&self, key: &str, bytes: &[u8]) -> ImportError {
        let text = String::from_utf8_lossy(bytes);
        let shown: String = text.chars().take(80).collect();
        ImportError::BadValue {
            path: self.path.clone(),
            key: key.to_owned(),
            found: format!("`{}`, which is not UTF-8", shown.escape_debug()),
            expected: "UTF-8: convert the file again from its original".to_owned(),
        }
    }

    pub(super) fn missing(&self, key: &str) -> ImportError {
        ImportError::MissingKey {
            path: self.path.clone(),
            key: key.to_owned(),
        }
    }

    pub(super) fn bad(&self, key: &str, expected: &str) -> ImportError {
        let mut found = self.get(key).map_or_else(String::new, Value::to_string);
        if let Some((end, _)) = found.char_indices().nth(80) {
            found.truncate(end);
        }
        ImportError::BadValue {
            path: self.path.clone(),
            key: key.to_owned(),
            found,
            expected: expected.to_owned(),
        }
    }
}
