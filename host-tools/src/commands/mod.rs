//! The verbs of the tool, one a file.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod device;
mod error;
pub(crate) mod eval;
mod execution;
pub(crate) mod flash;
mod input;
pub(crate) mod inspect;
pub(crate) mod logits;
mod numbers;
pub(crate) mod pack;
pub(crate) mod run;
mod timing;
pub(crate) mod tokenize;
pub(crate) mod train;
pub(crate) mod verify;

pub(crate) use error::CommandError;
pub(crate) use execution::{Execution, OneSession, warn_of_context};
