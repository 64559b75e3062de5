//! Typed access to the keys of a JSON object, with errors that name the key.

use std::path::Path;

use serde_json::{Map, Value};

use crate::checkpoint::ImportError;

/// The largest size that a configuration may state.
const MAX_SIZE: u64 = i32::MAX as u64;

/// A JSON object of a checkpoint's configuration.
///
/// A key that is `null` counts as absent, except where a method says otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys<'a> {
    path: &'a Path,
    object: &'a Map<String, Value>,
    /// The prefix of a key in messages: the enclosing keys.
    prefix: &'a str,
}

impl<'a> Keys<'a> {
    /// The top-level object of the file `path`.
    pub(super) fn new(path: &'a Path, value: &'a Value) -> Result<Self, ImportError> {
        let object = value.as_object().ok_or_else(|| ImportError::Malformed {
            path: path.to_owned(),
            what: "is not a JSON object".to_owned(),
        })?;
        let prefix = "";
        Ok(Self {
            path,
            object,
            prefix,
        })
    }

    /// The value of `key`, if it is there and not `null`.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// The object under `key`; an empty one counts as absent. Messages call
    /// its keys `prefix` and their name.
    pub(super) fn nested(&self, key: &str, prefix: &'a str) -> Result<Option<Self>, ImportError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let object = value
            .as_object()
            .ok_or_else(|| self.bad(key, value, "an object"))?;
        Ok((!object.is_empty()).then_some(Self {
            path: self.path,
            object,
            prefix,
        }))
    }

    /// A size that must be stated: 1 to 2^31 - 1.
    pub(super) fn size(&self, key: &str) -> Result<u32, ImportError> {
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        self.to_count(key, value, 1)
    }

    /// A size of at least 1, with its default.
    pub(super) fn size_or(&self, key: &str, default: u32) -> Result<u32, ImportError> {
        self.get(key)
            .map_or(Ok(default), |value| self.to_count(key, value, 1))
    }

    /// A size of at least 1 whose `null` means "none" while its absence means
    /// `default`.
    pub(super) fn nullable_size(
        &self,
        key: &str,
        default: Option<u32>,
    ) -> Result<Option<u32>, ImportError> {
        self.nullable(key, default, 1)
    }

    /// As [`Self::nullable_size`], but 0 is allowed.
    pub(super) fn nullable_count(
        &self,
        key: &str,
        default: Option<u32>,
    ) -> Result<Option<u32>, ImportError> {
        self.nullable(key, default, 0)
    }

    /// A number of things that may be 0.
    pub(super) fn count_or(&self, key: &str, default: u32) -> Result<u32, ImportError> {
        self.get(key)
            .map_or(Ok(default), |value| self.to_count(key, value, 0))
    }

    /// A finite number, if there is one.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, ImportError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if (number as f32).is_finite() => Ok(Some(number)),
            _ => Err(self.bad(key, value, "a number that fits in 32 bits")),
        }
    }

    /// A number greater than 0, with its default.
    pub(super) fn positive_or(&self, key: &str, default: f64) -> Result<f64, ImportError> {
        let number = self.number(key)?.unwrap_or(default);
        if number as f32 > 0.0 {
            return Ok(number);
        }
        Err(self.bad(key, number, "a number greater than 0"))
    }

    /// A truth value, with its default.
    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool, ImportError> {
        self.get(key).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| self.bad(key, value, "true or false"))
        })
    }

    /// A string, if there is one.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ImportError> {
        self.get(key)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| self.bad(key, value, "a string"))
            })
            .transpose()
    }

    /// A list, if there is one.
    pub(super) fn list(&self, key: &str) -> Result<Option<&'a [Value]>, ImportError> {
        self.get(key)
            .map(|value| match value {
                Value::Array(items) => Ok(items.as_slice()),
                _ => Err(self.bad(key, value, "a list")),
            })
            .transpose()
    }

    /// The error for a key whose value makes no sense.
    pub(super) fn bad(
        &self,
        key: &str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> ImportError {
        ImportError::BadValue {
            path: self.path.to_owned(),
            key: self.full_name(key),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    /// The error for a key that is absent.
    pub(super) fn missing(&self, key: &str) -> ImportError {
        ImportError::MissingKey {
            path: self.path.to_owned(),
            key: self.full_name(key),
        }
    }

    fn nullable(
        &self,
        key: &str,
        default: Option<u32>,
        least: u64,
    ) -> Result<Option<u32>, ImportError> {
        match self.object.get(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(value) => self.to_count(key, value, least).map(Some),
        }
    }

    fn full_name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn to_count(self, key: &str, value: &Value, least: u64) -> Result<u32, ImportError> {
        value
            .as_u64()
            .filter(|count| (least..=MAX_SIZE).contains(count))
            .and_then(|count| u32::try_from(count).ok())
            .ok_or_else(|| {
                self.bad(
                    key,
                    value,
                    format!("a whole number from {least} to {MAX_SIZE}"),
                )
            })
    }
}
