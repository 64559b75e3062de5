//! Programs for boards, built and run in QEMU; and the engine on 64-bit Arm.

#![cfg(unix)]

mod aarch64;
mod board;
mod boards;
mod faults;
mod firmware;
mod kernels;
mod panics;
mod program;
mod second_opinion;
mod update;
