//! Whatever arrives on its line, neither a device nor a host hangs or fails, and
//! both answer afterwards as before.

#![cfg(unix)]

mod drivers;
mod line;
mod losses;
mod noise;
mod talk;
