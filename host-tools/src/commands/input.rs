//! Text that comes through standard input or from a file.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::CommandError;
use crate::support::terminal;

/// How long standard input may be silent before a message says that the tool is
/// waiting for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a command is to answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// This one prompt.
    Once(String),
    /// Whatever is typed.
    Chat,
}

/// The prompt: `given` with `-p`, and what comes through standard input after
/// it, separated by an empty line. A chat if there is neither and `may_chat`.
///
/// # Errors
/// If standard input cannot be read, is not UTF-8, or there is no prompt at all.
pub(crate) fn prompt(given: Option<&str>, may_chat: bool) -> Result<Asked, CommandError> {
    let typed = if io::stdin().is_terminal() {
        match given {
            None if may_chat => return Ok(Asked::Chat),
            None => standard_input()?,
            // On a terminal, -p is the whole prompt.
            Some(_) => String::new(),
        }
    } else {
        standard_input()?
    };
    joined(given, &typed)
        .map(Asked::Once)
        .ok_or(CommandError::EmptyPrompt)
}

/// `given` and `typed` as one prompt; nothing if both are empty.
fn joined(given: Option<&str>, typed: &str) -> Option<String> {
    let prompt = match given {
        None => typed.to_owned(),
        Some(given) if typed.is_empty() => given.to_owned(),
        Some(given) => format!("{given}\n\n{typed}"),
    };
    (!prompt.is_empty()).then_some(prompt)
}

/// All of standard input, as [`tidy`] leaves it.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub(crate) fn standard_input() -> Result<String, CommandError> {
    let (done, waiting) = mpsc::channel::<()>();
    let waits = thread::spawn(move || {
        if waiting.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            terminal::tell_line!("reading standard input until it ends (`< /dev/null` gives none)");
        }
    });
    let mut bytes = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut bytes);
    drop(done);
    // It only prints; a panic there changes nothing here.
    let _ = waits.join();
    let fail = |what: String| CommandError::Refused(format!("standard input: {what}"));
    read.map_err(|error| fail(error.to_string()))?;
    Ok(tidy(&decode(bytes).map_err(fail)?).to_owned())
}

/// The text in the file at `path`, verbatim; standard input for `-`.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub(crate) fn text_of(path: &Path) -> Result<String, CommandError> {
    if path == Path::new("-") {
        return standard_input();
    }
    let bytes = std::fs::read(path).map_err(|source| CommandError::File {
        path: path.to_owned(),
        source,
    })?;
    decode(bytes).map_err(|what| CommandError::Content {
        path: path.to_owned(),
        what,
    })
}

fn decode(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("not UTF-8 text: byte {at} is invalid; `iconv -t UTF-8` converts it")
    })
}

/// Text without what editors and shells put around it: a byte order mark in
/// front, one line break at the end. A second line break was meant.
fn tidy(text: &str) -> &str {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_is_the_shells_and_the_next_is_the_persons() {
        for (given, expected) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\n\n\n", "a\n\n"),
            ("a\r\n", "a"),
            ("a\r\n\r\n", "a\r\n"),
            ("\u{feff}a\n", "a"),
            ("a\0b\n", "a\0b"),
            ("a\r", "a\r"),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(tidy(given), expected, "{given:?}");
        }
    }

    #[test]
    fn nothing_that_was_said_is_dropped() {
        let prompt = |given, typed| joined(given, typed);
        assert_eq!(prompt(Some("Sum up:"), "a\nb").unwrap(), "Sum up:\n\na\nb");
        assert_eq!(prompt(Some("Hi"), "").unwrap(), "Hi");
        assert_eq!(prompt(None, "Hi").unwrap(), "Hi");
        assert_eq!(prompt(Some(""), ""), None);
        assert_eq!(prompt(None, ""), None);
        let error = decode(b"caf\xe9".to_vec()).unwrap_err();
        assert!(error.contains("byte 3"), "{error}");
    }
}
