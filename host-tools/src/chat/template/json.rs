//! The filter `tojson`, as transformers defines it: Python's `json.dumps`.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::python::{arguments, float};

/// How deeply values may be nested.
const MAX_DEPTH: usize = 200;

/// `value | tojson(ensure_ascii, indent, separators, sort_keys)`: keys in
/// their order, a space after separators, and nothing escaped for HTML.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    args: Rest<Value>,
    named: Kwargs,
) -> Result<String, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let mut writer = Writer::new(arguments(names, args, &named)?)?;
    writer.value(value, 0)?;
    state.consume_fuel(writer.out.len() as u64 / 4)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    ensure_ascii: bool,
    sort_keys: bool,
    /// What one level is indented with; none: all on one line.
    indent: Option<String>,
    between_items: String,
    behind_keys: String,
}

impl Writer {
    fn new(arguments: [Option<Value>; 4]) -> Result<Self, Error> {
        let given = |value: Option<Value>| value.filter(|value| !value.is_none());
        let [ensure_ascii, indent, separators, sort_keys] = arguments.map(given);
        let indent = indent.map(indentation).transpose()?;
        let (between_items, behind_keys) = match separators {
            Some(pair) => (item_text(&pair, 0)?, item_text(&pair, 1)?),
            None if indent.is_some() => (",".into(), ": ".into()),
            None => (", ".into(), ": ".into()),
        };
        Ok(Self {
            out: String::new(),
            ensure_ascii: ensure_ascii.is_some_and(|value| value.is_true()),
            sort_keys: sort_keys.is_some_and(|value| value.is_true()),
            indent,
            between_items,
            behind_keys,
        })
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(invalid("tojson: the value is nested too deep"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(truth(value)),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Map => self.map(value, depth)?,
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            other => {
                return Err(invalid(format!("tojson: {other} has no form in JSON")));
            }
        }
        Ok(())
    }

    fn list(&mut self, list: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in list.try_iter()? {
            self.start_item(empty, depth);
            empty = false;
            self.value(&item, depth + 1)?;
        }
        self.end_items(empty, depth);
        self.out.push(']');
        Ok(())
    }

    fn map(&mut self, map: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = map.try_iter()?.collect();
        if self.sort_keys {
            keys.sort();
        }
        self.out.push('{');
        for (nth, key) in keys.iter().enumerate() {
            self.start_item(nth == 0, depth);
            match key.kind() {
                ValueKind::String => self.text(key.as_str().unwrap_or_default()),
                ValueKind::None => self.text("null"),
                ValueKind::Bool => self.text(truth(key)),
                ValueKind::Number => self.text(&number(key)),
                other => return Err(invalid(format!("tojson: {other} cannot be a key"))),
            }
            self.out.push_str(&self.behind_keys);
            self.value(&map.get_item(key)?, depth + 1)?;
        }
        self.end_items(keys.is_empty(), depth);
        self.out.push('}');
        Ok(())
    }

    fn start_item(&mut self, first: bool, depth: usize) {
        if !first {
            self.out.push_str(&self.between_items);
        }
        self.new_line(depth + 1);
    }

    fn end_items(&mut self, empty: bool, depth: usize) {
        if !empty {
            self.new_line(depth);
        }
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                letter if letter < ' ' || (self.ensure_ascii && letter > '~') => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        // Writing into a string does not fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                letter => self.out.push(letter),
            }
        }
        self.out.push('"');
    }
}

/// A number of spaces, or the text itself.
fn indentation(indent: Value) -> Result<String, Error> {
    match indent.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let spaces = i64::try_from(indent)?.clamp(0, 64);
            Ok(" ".repeat(spaces as usize))
        }
    }
}

fn item_text(pair: &Value, nth: usize) -> Result<String, Error> {
    let item = pair.get_item_by_index(nth)?;
    match item.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(invalid("tojson: separators must be two strings")),
    }
}

fn truth(value: &Value) -> &'static str {
    if value.is_true() { "true" } else { "false" }
}

/// As Python prints numbers in JSON.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => match number {
            _ if number.is_nan() => "NaN".into(),
            _ if number == f64::INFINITY => "Infinity".into(),
            _ if number == f64::NEG_INFINITY => "-Infinity".into(),
            _ => float(number),
        },
        _ => value.to_string(),
    }
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}
