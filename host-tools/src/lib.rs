//! The host side of Briquette: importing checkpoints, pressing briquettes,
//! running them, and the commands of the `briquette` tool.

#![deny(unsafe_code)]

pub mod chat;
pub mod checkpoint;
pub mod cli;
mod commands;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod draft;
pub mod executor;
pub mod files;
pub mod firmware;
pub mod generate;
pub mod import;
pub mod loaded;
pub mod measure;
pub mod pack;
mod prompt_start;
pub mod reasoning;
pub mod screen;
pub mod stored;
mod strangers;
pub mod target;
pub mod terminal;
pub mod text;
pub mod tokenizer;
pub mod train;
pub mod update;
