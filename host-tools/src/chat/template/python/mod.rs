//! What templates expect of Python, where minijinja has something else.

mod arguments;
mod filters;
mod functions;
mod methods;
mod operators;
mod split;
mod tests;
mod text;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, escape_formatter};

/// Gives an environment Python's methods, and Jinja2's tests and filters.
pub(super) fn extend(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(methods::call);
    operators::extend(environment);
    tests::extend(environment);
    filters::extend(environment);
    functions::extend(environment);
    environment.set_formatter(print);
}

pub(super) use arguments::arguments;
pub(super) use operators::{EACH, REMAINDER};

/// Writes a value into the text.
fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match as_float(value) {
        Some(number) => Ok(out.write_str(&float(number))?),
        None => escape_formatter(out, state, value),
    }
}

/// A value's text: Python's `str`.
fn string(value: Value) -> Value {
    match as_float(&value) {
        Some(number) => Value::from(float(number)),
        None if value.kind() == ValueKind::String => value,
        None => Value::from(value.to_string()),
    }
}

fn as_float(value: &Value) -> Option<f64> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    is_float.then(|| f64::try_from(value.clone()).ok())?
}

/// A number as Python's `repr` writes it: as short as it can be, with an
/// exponent outside of 1e-4 .. 1e16.
pub(super) fn float(number: f64) -> String {
    let text = format!("{number:?}").to_lowercase();
    match text.split_once('e') {
        None => text,
        Some((mantissa, exponent)) => match exponent.strip_prefix('-') {
            Some(digits) => format!("{mantissa}e-{digits:0>2}"),
            None => format!("{mantissa}e+{exponent:0>2}"),
        },
    }
}

/// What Python counts as whitespace.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// A sequence's items as a list.
fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::from(items.into_iter().collect::<Vec<_>>())
}
