//! Jinja2's functions that minijinja does not have, or not with these
//! arguments.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, Value};
use minijinja_contrib::globals;

use super::invalid;

pub(super) fn extend(environment: &mut Environment<'_>) {
    environment.add_function("joiner", globals::joiner);
    environment.add_function("cycler", |Rest(items): Rest<Value>| globals::cycler(items));
    environment.add_function("dict", dict);
}

/// A dictionary of another one, or of pairs, and of what is named.
fn dict(of: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut pairs = Vec::new();
    if let Some(of) = of {
        let is_map = of.kind() == ValueKind::Map;
        for item in of.try_iter()? {
            pairs.push(if is_map {
                (item.clone(), of.get_item(&item)?)
            } else {
                pair(&item)?
            });
        }
    }
    for name in named.args() {
        pairs.push((Value::from(name), named.get(name)?));
    }
    Ok(Value::from_pairs(pairs))
}

fn pair(item: &Value) -> Result<(Value, Value), Error> {
    match (
        item.len(),
        item.get_item_by_index(0),
        item.get_item_by_index(1),
    ) {
        (Some(2), Ok(key), Ok(value)) => Ok((key, value)),
        _ => Err(invalid(format!("dict: {item} is not a pair"))),
    }
}
