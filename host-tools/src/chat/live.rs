//! What a model writes: collected, and shown as it is written.

use std::cell::{Cell, RefCell};
use std::io;

use briquette_engine::text::Part;

use super::{Screen, Written};

/// Collects an answer; shows it on a screen if there is one.
#[derive(Debug)]
pub struct Live {
    screen: Option<RefCell<Screen>>,
    written: RefCell<Written>,
    failed: RefCell<Option<io::Error>>,
    is_lost: Cell<bool>,
}

impl Live {
    /// Nothing is written yet.
    pub fn new(show: bool) -> Self {
        Self {
            screen: show.then(|| RefCell::new(Screen::new())),
            written: RefCell::default(),
            failed: RefCell::default(),
            is_lost: Cell::new(false),
        }
    }

    /// Takes a piece of text.
    pub fn push(&self, part: Part, text: &str) {
        self.written.borrow_mut().push(part, text);
        if let Some(screen) = &self.screen
            && !self.is_lost()
            && let Err(error) = screen.borrow_mut().show(part, text)
        {
            self.is_lost.set(true);
            self.failed.replace(Some(error));
        }
    }

    /// Whether the reader is gone: the screen refused a piece.
    pub fn is_lost(&self) -> bool {
        self.is_lost.get()
    }

    /// All that was written.
    ///
    /// # Errors
    /// If some of it could not be shown.
    pub fn finish(self) -> io::Result<Written> {
        match self.failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(self.written.into_inner()),
        }
    }
}
