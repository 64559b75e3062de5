//! Methods of Python's strings that take them apart.

use minijinja::value::{Kwargs, Tuple, from_args};
use minijinja::{Error, Value};

use super::{invalid, is_space, list};

/// Calls `method` of `text` if it is one of these.
pub(super) fn call(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "split" | "rsplit" => split(text, args, method == "rsplit")?,
        "splitlines" => lines(text, args)?,
        "partition" | "rpartition" => partition(text, args, method == "rpartition")?,
        _ => return Ok(None),
    }))
}

/// `split(sep=None, maxsplit=-1)`, from the left or from the right.
fn split(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator, limit, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = match separator {
        Some(separator) => Some(separator.to_owned()),
        None => named.get::<Option<String>>("sep")?,
    };
    let limit = match limit {
        Some(limit) => Some(limit),
        None => named.get::<Option<i64>>("maxsplit")?,
    };
    named.assert_all_used()?;
    // A negative limit is none.
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.unwrap_or(usize::MAX);
    let mut pieces: Vec<&str> = match (separator.as_deref(), from_right) {
        (Some(""), _) => return Err(invalid("split: the separator is empty")),
        (Some(separator), false) => text.splitn(limit.saturating_add(1), separator).collect(),
        (Some(separator), true) => text.rsplitn(limit.saturating_add(1), separator).collect(),
        (None, false) => words(text, limit),
        (None, true) => words_from_right(text, limit),
    };
    if from_right {
        pieces.reverse();
    }
    Ok(list(pieces.into_iter().map(Value::from)))
}

/// The words between whitespace, and the rest after `limit` words.
fn words(text: &str, limit: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = match rest.find(is_space) {
            Some(end) if words.len() < limit => end,
            _ => rest.len(),
        };
        words.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    words
}

/// As [`words`], the last word first.
fn words_from_right(text: &str, limit: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        let start = match rest.char_indices().rfind(|&(_, letter)| is_space(letter)) {
            Some((at, space)) if words.len() < limit => at + space.len_utf8(),
            _ => 0,
        };
        words.push(&rest[start..]);
        rest = rest[..start].trim_end_matches(is_space);
    }
    words
}

/// `splitlines(keepends=False)`.
fn lines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keep, named): (Option<bool>, Kwargs) = from_args(args)?;
    let keep = match keep {
        Some(keep) => Some(keep),
        None => named.get::<Option<bool>>("keepends")?,
    };
    named.assert_all_used()?;
    let lines = lines_of(text, keep.unwrap_or(false));
    Ok(list(lines.into_iter().map(Value::from)))
}

/// The lines of `text`, with what ends them or without.
pub(super) fn lines_of(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, ending) = first_line(rest);
        lines.push(&rest[..if keep_ends { line + ending } else { line }]);
        rest = &rest[line + ending..];
    }
    lines
}

/// Bytes of the first line, and of what ends it.
fn first_line(text: &str) -> (usize, usize) {
    let ends_line = |letter| matches!(letter, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    match text.char_indices().find(|&(_, letter)| ends_line(letter)) {
        None => (text.len(), 0),
        Some((at, _)) if text[at..].starts_with("\r\n") => (at, 2),
        Some((at, letter)) => (at, letter.len_utf8()),
    }
}

/// The text before the first (or last) separator, the separator, and the rest.
fn partition(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(invalid("partition: the separator is empty"));
    }
    let parts = if from_right {
        text.rsplit_once(separator)
    } else {
        text.split_once(separator)
    };
    let parts = match parts {
        Some((before, behind)) => [before, separator, behind],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}
