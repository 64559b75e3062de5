//! Jinja2's filters, where minijinja's take other arguments or fail.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, State, Value, filters};
use minijinja_contrib::filters as contributed;

use super::arguments::{arguments, by_name, is_true};
use super::is_space;
use super::split::lines_of;

pub(super) fn extend(environment: &mut Environment<'_>) {
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("trim", trim);
    environment.add_filter("indent", indent);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("dictsort", dictsort);
    environment.add_filter("sort", sort);
    environment.add_filter("striptags", contributed::striptags);
    environment.add_filter("truncate", truncate);
    environment.add_filter("string", super::string);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("forceescape", escape);
}

fn default(value: Value, args: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default, boolean] = arguments(["default_value", "boolean"], args, &named)?;
    if value.is_undefined() || (is_true(boolean) && !value.is_true()) {
        Ok(default.unwrap_or_else(|| Value::from("")))
    } else {
        Ok(value)
    }
}

fn trim(value: Value, args: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [letters] = arguments(["chars"], args, &named)?;
    let letters = letters.filter(|letters| !letters.is_none());
    let text = value.to_string();
    let trimmed = match letters.as_ref().map(|letters| letters.as_str()) {
        Some(letters) => text.trim_matches(|letter| letters.unwrap_or_default().contains(letter)),
        None => text.trim_matches(is_space),
    };
    Ok(trimmed.to_owned())
}

fn indent(
    state: &State<'_, '_>,
    value: Value,
    args: Rest<Value>,
    named: Kwargs,
) -> Result<String, Error> {
    const MAX_WIDTH: i64 = 1000;
    let [width, first, blank] = arguments(["width", "first", "blank"], args, &named)?;
    let indentation = match width {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(i64::try_from(width)?.clamp(0, MAX_WIDTH) as usize),
        },
    };
    let (first, blank) = (is_true(first), is_true(blank));
    let text = value.to_string();
    let mut indented = String::new();
    // A line break at the end begins a line of its own.
    for (nth, line) in lines_of(&format!("{text}\n"), false)
        .into_iter()
        .enumerate()
    {
        if nth > 0 {
            indented.push('\n');
        }
        // The first line is indented even if it is blank.
        if if nth == 0 {
            first
        } else {
            blank || !line.is_empty()
        } {
            indented.push_str(&indentation);
        }
        indented.push_str(line);
        state.consume_fuel(1 + indentation.len() as u64 / 64)?;
    }
    Ok(indented)
}

/// A whole number: 0, or the default, where there is none.
fn int(
    state: &State<'_, '_>,
    value: Value,
    args: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let [default, base] = arguments(["default", "base"], args, &named)?;
    let default = default.unwrap_or_else(|| Value::from(0));
    let base = base.map(u32::try_from).transpose()?;
    let number = filters::int(
        state,
        &without_space(value),
        Some(default.clone()),
        base,
        nothing_named(),
    );
    Ok(number.unwrap_or(default))
}

/// A number: 0.0, or the default, where there is none.
fn float(
    state: &State<'_, '_>,
    value: Value,
    args: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let [default] = arguments(["default"], args, &named)?;
    let default = default.unwrap_or_else(|| Value::from(0.0));
    let number = filters::float(
        state,
        &without_space(value),
        Some(default.clone()),
        nothing_named(),
    );
    Ok(number.unwrap_or(default))
}

/// A text without the space around it, as Python reads numbers; other values as
/// they are.
fn without_space(value: Value) -> Value {
    match value.as_str() {
        Some(text) => Value::from(text.trim_matches(is_space)),
        None => value,
    }
}

fn nothing_named() -> Kwargs {
    Kwargs::from_iter(std::iter::empty::<(&str, Value)>())
}

fn dictsort(value: Value, args: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let names = ["case_sensitive", "by", "reverse"];
    let given = arguments(names, args, &named)?;
    filters::dictsort(&value, by_name(names, given))
}

fn sort(
    state: &State<'_, '_>,
    value: Value,
    args: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let names = ["reverse", "case_sensitive", "attribute"];
    let given = arguments(names, args, &named)?;
    if value.kind() == ValueKind::None {
        return Err(super::invalid("sort: none cannot be sorted"));
    }
    filters::sort(state, value, by_name(names, given))
}

fn truncate(
    state: &mut State<'_, '_>,
    value: Value,
    args: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let names = ["length", "killwords", "end", "leeway"];
    let given = arguments(names, args, &named)?;
    contributed::truncate(state, &value, by_name(names, given))
}

/// Safe in HTML, in the spelling of Python's markupsafe.
fn escape(value: Value) -> Value {
    if value.is_safe() {
        return value;
    }
    let text = value.to_string();
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    Value::from_safe_string(text.replace('"', "&#34;").replace('\'', "&#39;"))
}
