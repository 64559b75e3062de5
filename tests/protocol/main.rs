//! Whatever arrives on its line, a device neither hangs nor falls over, and
//! answers afterwards as before; nor does a host.

#![cfg(unix)]

mod drivers;
mod line;
mod losses;
mod noise;
mod talk;
