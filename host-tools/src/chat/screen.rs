//! Thought and answer on a terminal.

use std::io::{self, Write};

use anstyle::Style;
use briquette_engine::text::Part;

use crate::support::terminal;

/// What a model has written, without the tags.
#[derive(Debug, Default)]
pub struct Written {
    /// The text between `<think>` and `</think>`.
    pub thinking: String,
    /// The text in the answer's tags, or outside of all tags.
    pub answer: String,
}

impl Written {
    /// Takes a piece of text.
    pub fn push(&mut self, part: Part, text: &str) {
        match part {
            Part::Thinking => self.thinking.push_str(text),
            Part::Answer | Part::Outside => self.answer.push_str(text),
        }
    }

    /// The answer verbatim; without the line breaks that separate it from a
    /// thought, if there was one.
    pub fn text(&self) -> &str {
        if self.thinking.is_empty() {
            &self.answer
        } else {
            self.answer.trim_start()
        }
    }
}

/// The terminal that shows an answer as it is written.
#[derive(Debug)]
pub struct Screen {
    dimmed: Style,
    thinking: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// An empty screen.
    pub fn new() -> Self {
        Self {
            dimmed: terminal::dimmed(&io::stderr()),
            thinking: false,
        }
    }

    /// Shows a piece of text: the thought on stderr, so that only the answer
    /// goes down a pipe.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn show(&mut self, part: Part, text: &str) -> io::Result<()> {
        if part == Part::Thinking {
            let dimmed = self.dimmed;
            self.thinking = true;
            let mut out = io::stderr();
            return write!(out, "{dimmed}{text}{dimmed:#}").and_then(|()| out.flush());
        }
        let mut text = text;
        if self.thinking {
            text = text.trim_start();
            if text.is_empty() {
                return Ok(());
            }
            self.thinking = false;
            writeln!(io::stderr())?;
        }
        let mut out = io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    }
}
