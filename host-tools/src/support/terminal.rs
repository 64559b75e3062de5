//! Messages, progress and Ctrl-C on a terminal.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;

/// Work to be done before the process ends.
static AT_EXIT: Mutex<Vec<Box<dyn FnOnce() + Send>>> = Mutex::new(Vec::new());

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Prints on stderr; unlike `eprint!` it does not panic where stderr is closed or
/// its disk is full.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write;
        // There is no other place to report this to.
        let _ = write!(std::io::stderr(), $($text)*);
    }};
}

/// As `tell!`, and ends the line.
macro_rules! tell_line {
    () => { $crate::support::terminal::tell!("\n") };
    ($text:literal $($rest:tt)*) => { $crate::support::terminal::tell!("{}\n", format_args!($text $($rest)*)) };
}

pub(crate) use {tell, tell_line};

/// Sends log messages to stderr; `BRIQUETTE_LOG=debug` shows more.
pub fn start_logging() {
    let filter = EnvFilter::try_from_env("BRIQUETTE_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(has_colours(&io::stderr()))
        .with_target(false)
        .without_time()
        // It would complain on stderr that stderr cannot be written.
        .log_internal_errors(false)
        .init();
}

/// Lets long work stop cleanly at Ctrl-C; a second Ctrl-C ends the process.
pub fn watch_for_interrupt() {
    let watching = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            let mut pending = AT_EXIT.lock().unwrap_or_else(PoisonError::into_inner);
            pending.drain(..).for_each(|work| work());
            std::process::exit(130);
        }
    });
    if let Err(error) = watching {
        tracing::warn!("Ctrl-C will end the program at once: {error}");
    }
}

/// Does `work` when a second Ctrl-C ends the process, so that programs that were
/// started end too.
pub fn at_exit(work: impl FnOnce() + Send + 'static) {
    let mut pending = AT_EXIT.lock().unwrap_or_else(PoisonError::into_inner);
    pending.push(Box::new(work));
}

/// Whether Ctrl-C was pressed.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Forgets that Ctrl-C was pressed: in a chat it only ends the answer.
pub fn clear_interrupt() {
    INTERRUPTED.store(false, Ordering::SeqCst);
}

/// Prints an error and its causes.
pub fn show_error(error: &dyn std::error::Error) {
    let style = style(AnsiColor::Red, &io::stderr());
    tell!("{style}error:{style:#} {error}");
    let mut shown = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !shown.contains(&text) {
            tell!(": {text}");
            shown = text;
        }
        cause = error.source();
    }
    tell_line!();
}

/// A bold colour, where `stream` shows colours.
pub fn style(color: AnsiColor, stream: &impl IsTerminal) -> Style {
    if has_colours(stream) {
        Style::new().bold().fg_color(Some(color.into()))
    } else {
        Style::new()
    }
}

/// A style for what matters less, where `stream` shows styles.
pub fn dimmed(stream: &impl IsTerminal) -> Style {
    if has_colours(stream) {
        Style::new().dimmed()
    } else {
        Style::new()
    }
}

/// Whether `stream` is a terminal that takes escape codes, and the user
/// accepts them (<https://no-color.org>).
fn has_colours(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_dumb() && !refused
}

/// Whether the terminal takes no escape codes at all.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// A progress bar on stderr, shown only on a terminal that can redraw a line.
pub fn progress(total: u64, what: &'static str) -> ProgressBar {
    let target = if is_dumb() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr_with_hz(10)
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let template = "{msg} [{bar:32}] {percent}% {elapsed} (left: {eta})";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▌ "));
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// A callback that moves `bar` to (done, total) and breaks off at Ctrl-C.
pub fn follow(bar: &ProgressBar) -> impl FnMut(u64, u64) -> ControlFlow<()> + use<'_> {
    |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if interrupted() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// `1234567` as `1.18 MiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
