//! What the whole-system tests share: golden checkpoints, packing, running.

pub mod burn;
mod golden;
mod model;
mod script;
mod text;

pub use golden::{Golden, Prompt, golden_folders, repository, smollm2};
pub use model::{Packed, Run, digests, kl_divergence, largest_difference, most_likely};
pub use script::{printed, script};
pub use text::{corpus, encode};
