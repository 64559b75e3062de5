//! What every other room uses: files, the terminal, the machine's memory.

pub mod files;
pub mod machine;
pub mod terminal;
