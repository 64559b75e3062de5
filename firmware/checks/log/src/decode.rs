//! defmt's frames as lines of text.

use defmt_decoder::{DecodeError, Encoding, Frame, StreamDecoder};

/// Why a program's logs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It is no ELF file, or another version of defmt wrote the table.
    #[error("the table of log messages cannot be read: {0}")]
    Broken(String),
    /// There is no table.
    #[error("there is no table of log messages: the program was built without defmt, or stripped")]
    Missing,
    /// Frames have no ends: a damaged one would damage all that follow.
    #[error("the program uses defmt's raw encoding; build it with the default, rzCOBS")]
    Raw,
}

/// The texts of a program's messages; a board sends only their numbers.
#[derive(Debug)]
pub struct Table(defmt_decoder::Table);

impl Table {
    /// Reads the table of a program: the bytes of its ELF file.
    ///
    /// # Errors
    /// If it has none that can be used.
    pub fn read(elf: &[u8]) -> Result<Self, TableError> {
        let table = defmt_decoder::Table::parse(elf);
        match table.map_err(|error| TableError::Broken(format!("{error:#}")))? {
            None => Err(TableError::Missing),
            Some(table) if table.encoding() == Encoding::Raw => Err(TableError::Raw),
            Some(table) => Ok(Self(table)),
        }
    }

    /// A log of which nothing has been received yet.
    pub fn log(&self) -> Log<'_> {
        Log(self.0.new_stream_decoder())
    }
}

/// Turns frames into lines.
pub struct Log<'t>(Box<dyn StreamDecoder + Send + Sync + 't>);

impl Log<'_> {
    /// Takes bytes, cut anywhere; returns the lines that they complete. Broken
    /// frames are skipped.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.received(bytes);
        let mut lines = Vec::new();
        loop {
            match self.0.decode() {
                Ok(frame) => lines.push(line(&frame)),
                Err(DecodeError::Malformed) => {}
                Err(DecodeError::UnexpectedEof) => return lines,
            }
        }
    }
}

/// `LEVEL message`.
fn line(frame: &Frame<'_>) -> String {
    let level = frame.level().map_or("", |level| level.as_str());
    format!("{level:<5} {}", frame.display_message())
}
