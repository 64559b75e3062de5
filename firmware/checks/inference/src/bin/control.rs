//! A program that can panic, in one place: `firmware/scripts/panics` must find it.

#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "the linker starts from a function that takes pointers"
)]

use core::slice;

/// What the linker starts from.
///
/// # Safety
/// The pointer must be valid for as many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn inference(bytes: *const u8, len: usize, index: usize) -> u8 {
    // SAFETY: as the caller promises.
    let bytes = unsafe { slice::from_raw_parts(bytes, len) };
    bytes[index]
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
