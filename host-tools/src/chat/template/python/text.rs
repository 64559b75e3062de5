//! Methods of Python's strings.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, State, Value};

use super::{invalid, is_space};

/// Calls `method` of `text` if it is one of these.
pub(super) fn call(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => Value::from(strip(text, method, args)?),
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "startswith" | "endswith" => Value::from(has_affix(text, method, args)?),
        "find" | "rfind" | "index" | "rindex" => find(text, method, args)?,
        "count" => {
            let (wanted, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            let window = window(text, start, end);
            Value::from(window.map_or(0, |(_, text)| text.matches(wanted).count()))
        }
        "replace" => replace(state, text, args)?,
        "join" => join(state, text, args)?,
        "format" => {
            check_widths(text)?;
            Value::from(format(FormatStyle::StrFormat, text, args)?)
        }
        "title" => {
            let () = from_args(args)?;
            Value::from(title(text))
        }
        "swapcase" => {
            let () = from_args(args)?;
            Value::from(swap_case(text))
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        "isspace" => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.chars().all(is_space))
        }
        "isdecimal" => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit()))
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let zeros = padding(state, text, width, '0')?;
            Value::from(format!("{sign}{zeros}{digits}"))
        }
        "ljust" | "rjust" | "center" => pad(state, text, method, args)?,
        _ => return Ok(None),
    }))
}

fn strip<'t>(text: &'t str, method: &str, args: &[Value]) -> Result<&'t str, Error> {
    let (letters,): (Option<&str>,) = from_args(args)?;
    let strips = |letter| match letters {
        Some(letters) => letters.contains(letter),
        None => is_space(letter),
    };
    Ok(match method {
        "lstrip" => text.trim_start_matches(strips),
        "rstrip" => text.trim_end_matches(strips),
        _ => text.trim_matches(strips),
    })
}

/// The part of `text` from one letter to another, counted as in Python's
/// slices, and where it starts; none if it starts past the end.
fn window(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(i64, &str)> {
    if start.is_none() && end.is_none() {
        return Some((0, text));
    }
    let letters = text.chars().count() as i64;
    let from_start = |at: i64| if at < 0 { (letters + at).max(0) } else { at };
    let start = from_start(start.unwrap_or(0));
    let end = from_start(end.unwrap_or(letters)).min(letters);
    if start > end {
        return None;
    }
    let byte = |at: i64| {
        let mut letters = text.char_indices().skip(at as usize);
        letters.next().map_or(text.len(), |(byte, _)| byte)
    };
    Some((start, &text[byte(start)..byte(end)]))
}

/// `startswith` and `endswith`, with one string or a tuple of strings.
fn has_affix(text: &str, method: &str, args: &[Value]) -> Result<bool, Error> {
    let (affix, start, end): (Value, Option<i64>, Option<i64>) = from_args(args)?;
    let Some((_, text)) = window(text, start, end) else {
        return Ok(false);
    };
    let has = |affix: &Value| match affix.as_str() {
        Some(affix) if method == "startswith" => Ok(text.starts_with(affix)),
        Some(affix) => Ok(text.ends_with(affix)),
        None => Err(invalid(format!("{method} needs strings"))),
    };
    if affix.kind() != ValueKind::Seq {
        return has(&affix);
    }
    for affix in affix.try_iter()? {
        if has(&affix)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where a string lies in another, in letters: -1, or an error, if nowhere.
fn find(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let found = window(text, start, end).and_then(|(offset, text)| {
        let byte = if method.starts_with('r') {
            text.rfind(wanted)
        } else {
            text.find(wanted)
        };
        Some(offset + text[..byte?].chars().count() as i64)
    });
    match found {
        Some(at) => Ok(Value::from(at)),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid(format!("{method}: the substring was not found"))),
    }
}

/// `replace(old, new, count=-1)`.
fn replace(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (old, new, count, named): (&str, &str, Option<i64>, Kwargs) = from_args(args)?;
    let count = match count {
        Some(count) => Some(count),
        None => named.get::<Option<i64>>("count")?,
    };
    named.assert_all_used()?;
    // A negative count is no limit.
    let count = count.and_then(|count| usize::try_from(count).ok());
    let matches = text.matches(old).count().min(count.unwrap_or(usize::MAX));
    charge(state, matches.saturating_mul(new.len()))?;
    Ok(Value::from(match count {
        Some(count) => text.replacen(old, new, count),
        None => text.replace(old, new),
    }))
}

fn join(state: &State<'_, '_>, separator: &str, args: &[Value]) -> Result<Value, Error> {
    let (items,): (Value,) = from_args(args)?;
    let mut joined = String::new();
    for (nth, item) in items.try_iter()?.enumerate() {
        let Some(text) = item.as_str() else {
            return Err(invalid(format!("join: item {nth} is no string")));
        };
        if nth > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
        charge(state, separator.len() + text.len())?;
    }
    Ok(Value::from(joined))
}

/// Every word with a capital letter: a word is a run of letters that have
/// small and capital forms.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut titled = String::with_capacity(text.len());
    for letter in text.chars() {
        if inside {
            titled.extend(letter.to_lowercase());
        } else {
            titled.extend(letter.to_uppercase());
        }
        inside = letter.is_lowercase() || letter.is_uppercase();
    }
    titled
}

fn swap_case(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_uppercase() {
            swapped.extend(letter.to_lowercase());
        } else {
            swapped.extend(letter.to_uppercase());
        }
    }
    swapped
}

/// `ljust`, `rjust` and `center`.
fn pad(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, fill): (usize, Option<char>) = from_args(args)?;
    let padding = padding(state, text, width, fill.unwrap_or(' '))?;
    let letters = padding.chars().count();
    let left = match method {
        "ljust" => 0,
        "rjust" => letters,
        // Python puts an odd one left where the width is odd.
        _ => letters / 2 + (letters & width & 1),
    };
    let mut sides = padding.chars();
    let before: String = sides.by_ref().take(left).collect();
    Ok(Value::from(format!("{before}{text}{}", sides.as_str())))
}

/// What `text` needs to be `width` letters wide.
fn padding(state: &State<'_, '_>, text: &str, width: usize, fill: char) -> Result<String, Error> {
    let missing = width.saturating_sub(text.chars().count());
    charge(state, missing.saturating_mul(fill.len_utf8()))?;
    Ok(std::iter::repeat_n(fill, missing).collect())
}

/// Counts `bytes` of text as steps before they are made: templates come from
/// untrusted files.
fn charge(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

/// Refuses a format that asks for fields of millions of letters.
pub(super) fn check_widths(format: &str) -> Result<(), Error> {
    const MAX_DIGITS: usize = 5;
    let mut runs = format.split(|letter: char| !letter.is_ascii_digit());
    match runs.find(|run| run.len() > MAX_DIGITS) {
        None => Ok(()),
        Some(run) => Err(invalid(format!(
            "the format asks for a field of {run} letters"
        ))),
    }
}
