//! Fails as its argument says. The handlers are those of every board's program.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "it reads where nothing is")]

use core::hint::black_box;

use board_runtime::guarded::{self, Refused};
use semihosting::experimental::env;

#[cortex_m_rt::entry]
fn main() -> ! {
    let arguments = env::args::<64>();
    let fault = arguments.as_ref().ok().and_then(|mut names| names.nth(1));
    match fault {
        Some(Ok("panic")) => panic!("as it was told to"),
        Some(Ok("undefined")) => cortex_m::asm::udf(),
        Some(Ok("guarded")) => panic!("{:?}", read_nowhere()),
        Some(Ok("overflow")) => panic!("the stack has room for {} calls", calls(u32::MAX)),
        _ => panic!("no such fault"),
    }
}

/// What reading gives where there is no memory on `mps3-an547`, and where there is.
fn read_nowhere() -> [Result<(), Refused>; 2] {
    let mut bytes = [0; 16];
    // SAFETY: nothing is there, neither registers nor objects; then the vectors.
    unsafe {
        [
            guarded::read(0x30ff_fff0, &mut bytes),
            guarded::read(0, &mut bytes),
        ]
    }
}

/// Calls itself `depth` times.
#[inline(never)]
fn calls(depth: u32) -> u32 {
    let memory = black_box([depth; 64]);
    match memory[0] {
        0 => 0,
        depth => calls(depth - 1) + 1 + black_box(memory)[1] / u32::MAX,
    }
}
