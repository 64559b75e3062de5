//! The host side of Briquette: importing checkpoints, packing briquettes,
//! running them, and the commands of the `briquette` tool.
//!
//! Its rooms, the lowest first; none imports from one that follows it:
//!
//! 1. [`support`]: files, the terminal, the machine's memory
//! 2. [`chat`]: templates, prompts, and the loop that generates an answer
//! 3. [`checkpoint`]: from published files to weights and a tokenizer
//! 4. [`pack`]: from a checkpoint to a briquette that fits its target
//! 5. [`run`]: a briquette in memory, and the executor that runs it
//! 6. [`measure`]: what a token costs, and what the machine can do
//! 7. [`device`]: boards on a serial line, their firmware and updates
//! 8. [`train`]: small reasoning models
//! 9. `commands`: the verbs, their arguments and what they print
//! 10. [`cli`]: what people type

#![deny(unsafe_code)]

pub mod chat;
pub mod checkpoint;
pub mod cli;
mod commands;
pub mod device;
pub mod measure;
pub mod pack;
pub mod run;
pub mod support;
pub mod train;
