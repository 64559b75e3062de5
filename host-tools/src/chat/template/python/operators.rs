//! The operator `%`, which with a string on its left is Python's formatting,
//! and loops over strings.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, State, Value};

use super::{invalid, text};

/// The function that stands for `%`, which minijinja knows for numbers only.
pub(in super::super) const REMAINDER: &str = "__remainder";

/// The filter that makes a list of a string, for a loop to count its letters.
pub(in super::super) const EACH: &str = "__each";

pub(super) fn extend(environment: &mut Environment<'_>) {
    environment.add_filter(EACH, each);
    environment.add_function(REMAINDER, remainder);
}

fn remainder(state: &mut State<'_, '_>, left: Value, right: Value) -> Result<Value, Error> {
    if let Some(format) = left.as_str() {
        return printf(state, format, right);
    }
    if let (Some(left), Some(right)) = (integer(&left), integer(&right)) {
        return whole_remainder(left, right);
    }
    match (f64::try_from(left.clone()), f64::try_from(right.clone())) {
        (Ok(_), Ok(0.0)) => Err(invalid("division by zero")),
        (Ok(left), Ok(right)) => {
            let rest = left % right;
            // As in Python, the rest has the divisor's sign.
            let other_sign = rest != 0.0 && (rest < 0.0) != (right < 0.0);
            Ok(Value::from(if other_sign { rest + right } else { rest }))
        }
        _ => {
            let (left, right) = (left.kind(), right.kind());
            Err(invalid(format!("{left} % {right} is not defined")))
        }
    }
}

fn each(value: Value) -> Value {
    match value.as_str() {
        Some(text) => text.chars().map(Value::from).collect(),
        None => value,
    }
}

fn whole_remainder(left: i128, right: i128) -> Result<Value, Error> {
    if right == 0 {
        return Err(invalid("division by zero"));
    }
    let rest = left.wrapping_rem(right);
    let other_sign = rest != 0 && (rest < 0) != (right < 0);
    let rest = if other_sign { rest + right } else { rest };
    Ok(i64::try_from(rest).map_or_else(|_| Value::from(rest), Value::from))
}

/// A whole number, or a truth value, which is one in Python.
fn integer(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// `format % values`: a tuple's items, or the one value.
fn printf(state: &mut State<'_, '_>, format: &str, values: Value) -> Result<Value, Error> {
    text::check_widths(format)?;
    let mut args = vec![Value::from(format)];
    if values.is_tuple() {
        args.extend(values.try_iter()?);
    } else {
        args.push(values);
    }
    state.apply_filter("format", &args)
}
