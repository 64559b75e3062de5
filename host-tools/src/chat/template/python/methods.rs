//! Methods of Python's strings, lists and dictionaries.

use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::{invalid, list, split, text};

/// Calls a method of a value; what is missing here is minijinja-contrib's.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let found = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(this)) => match text::call(state, this, method, args)? {
            Some(found) => Some(found),
            None => split::call(this, method, args)?,
        },
        (ValueKind::Seq, _) => of_list(value, method, args)?,
        (ValueKind::Map, _) => of_dictionary(value, method, args)?,
        (ValueKind::Undefined, _) => return Err(Error::from(ErrorKind::UndefinedError)),
        _ => None,
    };
    match found {
        Some(found) => Ok(found),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// Methods of lists and tuples that change nothing: as in transformers, those
/// that would are not there.
fn of_list(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "index" => {
            let (wanted,): (Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|item| item == wanted);
            Value::from(found.ok_or_else(|| invalid(format!("{wanted} is not in the list")))?)
        }
        "copy" => {
            let () = from_args(args)?;
            list(value.try_iter()?)
        }
        _ => return Ok(None),
    }))
}

fn of_dictionary(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let pairs = || -> Result<Vec<(Value, Value)>, Error> {
        let pair = |key: Value| Ok((key.clone(), value.get_item(&key)?));
        value.try_iter()?.map(pair).collect()
    };
    Ok(Some(match method {
        "items" => {
            let () = from_args(args)?;
            let tuple = |(key, value)| Value::from(Tuple::from([key, value]));
            list(pairs()?.into_iter().map(tuple))
        }
        "keys" => {
            let () = from_args(args)?;
            list(value.try_iter()?)
        }
        "values" => {
            let () = from_args(args)?;
            list(pairs()?.into_iter().map(|(_, value)| value))
        }
        "copy" => {
            let () = from_args(args)?;
            Value::from_pairs(pairs()?)
        }
        _ => return Ok(None),
    }))
}
