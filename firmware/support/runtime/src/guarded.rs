//! Reading memory that may refuse to be read.
//!
//! Flash with error correction, as of an STM32H7, answers a read of a word that was
//! torn by a power failure with a bus fault. Without a guard a device that looks
//! at such a word when it starts would never start again.

#![expect(
    unsafe_code,
    reason = "it reads at any address, and its caller says that it may"
)]

use core::arch::naked_asm;
use core::ptr::with_exposed_provenance;

use cortex_m_rt::ExceptionFrame;

/// The memory answered a read with a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

unsafe extern "C" {
    /// The one instruction that may fault.
    static guarded_load: u8;
    /// Where it continues if it does.
    static guarded_failed: u8;
}

/// Copies the bytes at `address` into `bytes`.
///
/// # Errors
/// If the memory refuses one of them.
///
/// # Safety
/// Reading there must do nothing, and no Rust object that is being changed may lie
/// there.
pub unsafe fn read(address: usize, bytes: &mut [u8]) -> Result<(), Refused> {
    let start: *const u8 = with_exposed_provenance(address);
    for (offset, place) in bytes.iter_mut().enumerate() {
        // SAFETY: the caller has promised that it may be read; whether it can be
        // is what the load finds out.
        let loaded = unsafe { load(start.wrapping_add(offset)) };
        *place = u8::try_from(loaded).map_err(|_| Refused)?;
    }
    Ok(())
}

/// The byte at `address`, or what is no byte if the core refuses to read it.
#[unsafe(naked)]
unsafe extern "C" fn load(address: *const u8) -> u32 {
    naked_asm!(
        ".global guarded_load",
        "guarded_load:",
        "ldrb r0, [r0]",
        "bx lr",
        ".global guarded_failed",
        ".thumb_func",
        "guarded_failed:",
        "mvn r0, #0",
        "bx lr",
    )
}

/// Lets a guarded load that has faulted continue; returns whether it was one.
///
/// # Safety
/// `frame` must be that of the fault, on the stack.
pub(crate) unsafe fn excuse(frame: &mut ExceptionFrame) -> bool {
    // Without the bit that tells Thumb code.
    let address = |place: *const u8| place.addr() as u32 & !1;
    if frame.pc() != address(&raw const guarded_load) {
        return false;
    }
    // SAFETY: it is an instruction of the same function, which returns.
    unsafe { frame.set_pc(address(&raw const guarded_failed)) };
    // SAFETY: a status bit is cleared by writing it, and nothing else happens.
    let scb = unsafe { &*cortex_m::peripheral::SCB::PTR };
    // SAFETY: as above.
    unsafe { scb.cfsr.write(scb.cfsr.read()) };
    true
}
