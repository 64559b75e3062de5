//! Jinja2's tests, where minijinja's answer differently.

use minijinja::value::ValueKind;
use minijinja::{Environment, Value};

pub(super) fn extend(environment: &mut Environment<'_>) {
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    environment.add_test("mapping", is_mapping);
    environment.add_test("integer", is_integer);
    environment.add_test("callable", is_callable);
}

/// Whether a value has a length and items: strings, dictionaries and what is
/// undefined count.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Map, Seq, String, Undefined};
    matches!(value.kind(), Map | Seq | String | Undefined)
        // A range is an iterable that knows its length.
        || (value.kind() == ValueKind::Iterable && value.len().is_some())
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && !is_callable(value) && value.try_iter().is_ok()
}

fn is_mapping(value: &Value) -> bool {
    value.kind() == ValueKind::Map && !is_callable(value)
}

fn is_integer(value: &Value) -> bool {
    value.kind() == ValueKind::Number && value.is_integer()
}

/// Whether a value is a function or a macro.
fn is_callable(value: &Value) -> bool {
    let is_macro = |name: &str| name.ends_with("::Macro");
    value.kind() == ValueKind::Plain
        || value
            .as_object()
            .is_some_and(|object| is_macro(object.type_name()))
}
