//! Reading the small files next to the weights, never more than a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::{ImportError, stranger};

/// What some editors put at the start of a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Limit for configurations and templates.
pub(super) const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Limit for the index of shards, whose size grows with the tensors.
pub(super) const MAX_INDEX_BYTES: u64 = 100 << 20;
/// Limit for the tokenizer with its vocabulary.
pub(super) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// The file's content.
///
/// # Errors
/// If it cannot be read or is longer than `limit`.
pub(super) fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>, ImportError> {
    let io_error = |source| ImportError::Io {
        path: path.to_owned(),
        source,
    };
    let file = open(path)?;
    let mut content = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut content)
        .map_err(io_error)?;
    if content.len() as u64 > limit {
        let what = format!("is longer than {limit} bytes, too long for what it should be");
        return Err(malformed(path, what));
    }
    Ok(content)
}

/// Opens the file for reading.
///
/// # Errors
/// If the system refuses, or it is a link to nothing.
pub(super) fn open(path: &Path) -> Result<File, ImportError> {
    File::open(path).map_err(|source| match path.read_link() {
        Ok(target) if source.kind() == io::ErrorKind::NotFound => {
            let what = format!(
                "is a link to {}, which is not there: the download or the copy is incomplete",
                target.display()
            );
            malformed(path, what)
        }
        _ => ImportError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

/// The text of the file, without a byte order mark.
///
/// # Errors
/// As [`bytes`], and if it is something else than it should be.
pub(super) fn text(path: &Path, limit: u64) -> Result<Vec<u8>, ImportError> {
    let mut content = bytes(path, limit)?;
    if let Some(what) = stranger::describe(&content[..content.len().min(stranger::HEAD)]) {
        return Err(malformed(path, what));
    }
    if content.starts_with(BYTE_ORDER_MARK) {
        content.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(content)
}

/// As [`text`], as strict JSON: Python's names for numbers that JSON has not
/// become strings, which no key that is read takes for a number.
///
/// # Errors
/// As [`text`].
pub(super) fn strict_json(path: &Path, limit: u64) -> Result<Vec<u8>, ImportError> {
    let content = text(path, limit)?;
    Ok(quote_python_numbers(&content).unwrap_or(content))
}

/// The file's content as JSON.
///
/// # Errors
/// As [`text`], and if it is not JSON.
pub(super) fn json(path: &Path, limit: u64) -> Result<Value, ImportError> {
    parse(path, &strict_json(path, limit)?)
}

/// Parses what came from the file `path`.
///
/// # Errors
/// If it is not JSON of the wanted kind.
pub(super) fn parse<'a, T: Deserialize<'a>>(path: &Path, json: &'a [u8]) -> Result<T, ImportError> {
    serde_json::from_slice(json).map_err(|error| {
        let what = match stranger::describe_binary(&json[..json.len().min(stranger::HEAD)]) {
            Some(text) if !json.trim_ascii_start().starts_with(b"{") => text,
            _ => format!("is not sound JSON ({error}): is the download complete?"),
        };
        malformed(path, what)
    })
}

/// The file's content as text, `None` if there is no such file.
///
/// # Errors
/// As [`text`], and if it is not UTF-8.
pub(super) fn optional_text(path: &Path, limit: u64) -> Result<Option<String>, ImportError> {
    if !is_there(path) {
        return Ok(None);
    }
    String::from_utf8(text(path, limit)?)
        .map(Some)
        .map_err(|error| malformed(path, format!("is not UTF-8: {error}")))
}

/// The file's content as JSON, `None` if there is no such file.
///
/// # Errors
/// As [`json`].
pub(super) fn optional_json(path: &Path, limit: u64) -> Result<Option<Value>, ImportError> {
    is_there(path).then(|| json(path, limit)).transpose()
}

/// Whether there is such a file; a link that leads nowhere is one, and opening
/// it says so.
pub(super) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Puts quotes around `NaN`, `Infinity` and `-Infinity` where they stand for
/// values; `None` if there are none.
fn quote_python_numbers(json: &[u8]) -> Option<Vec<u8>> {
    const NUMBERS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let mut quoted = Vec::new();
    let (mut copied, mut at) = (0, 0);
    let mut in_string = false;
    while at < json.len() {
        match json[at] {
            // What is escaped ends no string.
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'N' | b'I' | b'-' if !in_string => {
                let rest = &json[at..];
                if let Some(number) = NUMBERS.iter().find(|number| rest.starts_with(number)) {
                    quoted.extend(&json[copied..at]);
                    quoted.extend([b"\"", *number, b"\""].concat());
                    copied = at + number.len();
                    at = copied - 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (copied > 0).then(|| {
        quoted.extend(&json[copied..]);
        quoted
    })
}

fn malformed(path: &Path, what: String) -> ImportError {
    ImportError::Malformed {
        path: path.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_s_numbers_become_strings_outside_of_strings() {
        let quoted = |json: &str| {
            let quoted = quote_python_numbers(json.as_bytes())?;
            Some(String::from_utf8(quoted).unwrap())
        };
        assert_eq!(quoted(r#"{"NaN": "-Infinity \" NaN", "a": -1}"#), None);
        assert_eq!(
            quoted(r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN"}"#).as_deref(),
            Some(r#"{"a": "NaN", "b": ["-Infinity", "Infinity"], "c": "NaN"}"#)
        );
    }
}
