//! Renders chat templates for `tests/differential/templates.py`.
//!
//! Each line of standard input is an object with a `template`, the `variables`
//! that it sees, and the `day` that it takes for today. Each line of standard
//! output is the answer: `["text", …]` or `["error", …]`.

use std::error::Error;
use std::io::{BufRead, Write};

use briquette::chat::{ChatTemplate, Clock};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let text = |key: &str| request[key].as_str().unwrap_or_default();
        let template = ChatTemplate {
            source: text("template").to_owned(),
            clock: Clock::Day(text("day").parse()?),
            ..ChatTemplate::default()
        };
        let answer = match template.render_with(&request["variables"]) {
            Ok(text) => json!(["text", text]),
            Err(error) => json!(["error", error.to_string()]),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}
