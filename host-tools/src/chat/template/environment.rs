//! Jinja as transformers sets it up.
//!
//! Known to differ: macros take no arguments beyond their parameters
//! (`varargs`, `kwargs`), what filters return can be iterated twice, a
//! loop cannot be left out of a `with`, `set` or `filter` block inside of it,
//! and text that is marked safe does not escape what is added to it.

use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::{Clock, json, python, source};

/// Steps that any template may take: templates come from untrusted files.
const FUEL: u64 = 1_000_000;
/// Additional steps for each byte of a conversation.
const FUEL_PER_BYTE: u64 = 200;

/// What errors call the template.
const NAME: &str = "the template";

/// The function that a `{% generation %}` block calls.
pub(super) const GENERATION: &str = "__generation";

/// Bytes of stack for rendering: hostile templates make deep expressions and
/// deep values, which minijinja walks through by recursion.
const STACK: usize = if cfg!(target_pointer_width = "64") {
    512 << 20
} else {
    32 << 20
};

/// Renders `template` with these variables. `bytes` says how long the
/// conversation is, `clock` what day it is. An error says what is wrong and
/// where.
pub(super) fn render(
    template: &str,
    variables: Value,
    clock: Clock,
    bytes: usize,
) -> Result<String, String> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK);
        // Errors carry values, too: none leaves the thread.
        let render = || render_here(template, variables, clock, bytes).map_err(|e| reason(&e));
        let rendering = builder.spawn_scoped(scope, render);
        let rendering = rendering.map_err(|error| format!("no thread to render it: {error}"))?;
        let result = rendering.join();
        result.unwrap_or_else(|_| Err("it makes the renderer fail".into()))
    })
}

/// What is wrong and where.
fn reason(error: &Error) -> String {
    let kind = error.kind();
    let what = match error.detail() {
        // So are the template's own refusals.
        Some(detail) if kind == ErrorKind::InvalidOperation => detail.to_owned(),
        Some(detail) => format!("{kind}: {detail}"),
        None => kind.to_string(),
    };
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}

fn render_here(
    template: &str,
    variables: Value,
    clock: Clock,
    bytes: usize,
) -> Result<String, Error> {
    let mut environment = Environment::new();
    let whitespace = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(whitespace);
    // Errors name the variable that is to blame.
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL + FUEL_PER_BYTE * bytes as u64));
    python::extend(&mut environment);
    environment.add_filter("tojson", json::tojson);
    environment.add_function("raise_exception", |message: Value| -> Result<(), Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
    });
    environment.add_function(GENERATION, generation);
    if clock != Clock::Absent {
        environment.add_function("strftime_now", move |format: &str| clock.strftime(format));
    }
    environment.render_named_str(NAME, &source::for_minijinja(template)?, variables)
}

/// The text of a block: which text the model has written matters in training
/// only.
fn generation(state: &mut State<'_, '_>, named: Kwargs) -> Result<Value, Error> {
    named.get::<Value>("caller")?.call(state, &[])
}
