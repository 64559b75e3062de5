//! What the chip does wrong (ST's errata sheet ES0392 of the STM32H743).

#![expect(unsafe_code, reason = "it runs before there is Rust")]

use core::arch::naked_asm;

/// Called before any memory but the stack is used.
///
/// Section 2.2.9, "Reading from AXI SRAM may lead to data read corruption", of
/// revisions Z, Y and W, whose number is below 0x2000: the workaround is to set
/// READ_ISS_OVERRIDE of the AXI's port to that memory. Later revisions do not
/// need it. All of our variables and the arena lie in AXI SRAM, the stack does not.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn __pre_init() {
    naked_asm!(
        // DBGMCU_IDC: the revision is its upper half.
        "movw r0, #0x1000",
        "movt r0, #0x5c00",
        "ldr r0, [r0]",
        "lsrs r0, r0, #16",
        "cmp r0, #0x2000",
        "bhs 2f",
        // AXI_TARG7_FN_MOD.
        "movw r0, #0x8108",
        "movt r0, #0x5100",
        "movs r1, #1",
        "str r1, [r0]",
        "dsb",
        "2:",
        "bx lr",
    )
}
