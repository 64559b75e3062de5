//! Panics and faults of microcontrollers, in QEMU: the reason is in the log.

use std::process::Stdio;

use briquette_tests::{printed, script};

use crate::program::{MISSING_QEMU, Program};

/// Boards in QEMU, and Rust's names of their cores.
const M7: [&str; 2] = ["mps2-an500", "thumbv7em-none-eabihf"];
const M55: [&str; 2] = ["mps3-an547", "thumbv8m.main-none-eabihf"];

/// What a program that fails in the way `fault` logs on a board.
fn log([board, core]: [&str; 2], fault: &str) -> String {
    let program =
        Program::build(script("firmware/scripts/build").args(["faults", "/dev/null", core]));
    let arguments = format!("enable=on,target=native,arg=faults,arg={fault}");
    let mut qemu = program
        .emulator(board)
        .args(["-monitor", "none"])
        .args(["-serial", "none", "-semihosting-config", &arguments])
        .stdout(Stdio::piped())
        .spawn()
        .expect(MISSING_QEMU);
    let frames = qemu.stdout.take().unwrap();
    let log = printed(program.log_reader().stdin(frames));
    assert_eq!(qemu.wait().unwrap().code(), Some(1));
    log
}

#[test]
fn the_log_says_why_a_program_has_ended() {
    for board in [M7, M55] {
        let panic = log(board, "panic");
        assert!(panic.contains("faults/src/main.rs:"), "{panic}");
        assert!(panic.contains("as it was told to"), "{panic}");

        // UNDEFINSTR, bit 16 of the fault status.
        let undefined = log(board, "undefined");
        assert!(
            undefined.starts_with("error hard fault at 0x"),
            "{undefined}"
        );
        assert!(undefined.contains("CFSR 0x00010000"), "{undefined}");
    }
    // On `mps2-an500` QEMU ignores accesses where no memory is. The M55 knows its
    // stack's limit: STKOF, bit 20.
    let overflow = log(M55, "overflow");
    let expected = "error the stack has overflowed its 65536 bytes; CFSR 0x00100000";
    assert!(overflow.starts_with(expected), "{overflow}");
    // As flash with error correction answers where a word was torn.
    let guarded = log(M55, "guarded");
    assert!(guarded.contains("[Err(Refused), Ok(())]"), "{guarded}");
}
