//! The tool as a stranger uses it: on its own, and with devices, with what is no
//! device, and with devices that go away.

#![cfg(unix)]

mod backends;
mod chain;
mod command;
mod demo;
mod device;
mod flash;
mod lines;
mod outputs;
mod packing;
mod peer;
mod pictures;
mod place;
mod probes;
mod prompts;
mod running;
mod stand_ins;
mod templates;
mod updates;
mod usage;
