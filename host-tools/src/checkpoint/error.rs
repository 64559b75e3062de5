//! What can be wrong with a checkpoint.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a checkpoint was refused. Every message names the place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file could not be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file's structure is broken.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file.
        what: String,
    },
    /// Something this tool does not know.
    #[error("{what} `{found}` is not supported; supported: {supported}")]
    Unsupported {
        /// What kind of thing, e.g. `architecture`.
        what: &'static str,
        /// What the checkpoint has.
        found: String,
        /// What would do, separated by commas.
        supported: String,
    },
    /// A configuration key is absent.
    #[error("{}: key `{key}` is missing", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A configuration value makes no sense.
    #[error("{}: `{key}` is {found}, expected {expected}", path.display())]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// What would make sense.
        expected: String,
    },
    /// There is no layer to draft tokens with.
    #[error("the checkpoint has no layer for multi-token prediction: leave out --mtp")]
    NoMtpLayer,
    /// A tensor is absent.
    #[error("tensor `{tensor}` is missing from the checkpoint")]
    MissingTensor {
        /// Its name.
        tensor: String,
    },
    /// Tensors that nothing reads, although they belong to the result.
    #[error(
        "tensors {tensors}{more} would change the result and cannot be used: they are {what}; \
         {advice}",
        more = Others(*others)
    )]
    Unread {
        /// What they are, the first of them at least.
        what: &'static str,
        /// Some of their names.
        tensors: String,
        /// How many more there are.
        others: usize,
        /// What to do.
        advice: &'static str,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{tensor}` has shape {found:?}, the configuration asks for {expected:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// What the file has.
        found: Vec<u64>,
        /// What the configuration says.
        expected: Vec<u64>,
    },
    /// A weight is not a finite number.
    #[error("tensor `{tensor}`, row {row}, column {column}: the weight is {value}")]
    NotFinite {
        /// The tensor's name.
        tensor: String,
        /// The stored row.
        row: u64,
        /// The stored column.
        column: u64,
        /// NaN or an infinity.
        value: f32,
    },
    /// Rows were asked for that the tensor does not have.
    #[error("tensor `{tensor}` has no rows {first} to {last}")]
    NoSuchRows {
        /// Its name.
        tensor: String,
        /// First row asked for.
        first: u64,
        /// Row after the last one asked for.
        last: u64,
    },
}

/// Says how many tensors were not named.
struct Others(usize);

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " and {count} more"),
        }
    }
}
