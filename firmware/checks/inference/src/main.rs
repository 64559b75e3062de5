//! Nothing but inference: opening a briquette, planning, taking a prompt in,
//! choosing tokens. `firmware/scripts/panics` searches this program for panics.

#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "the linker starts from a function that takes pointers"
)]

use core::slice;

use briquette_engine::blob::Blob;
use briquette_engine::text::{
    Sampler, SamplerOptions, Scratch, Tokenizer, Utf8Stream, answer_room,
};
use briquette_engine::{Plan, PlanOptions, Session};

/// What the linker starts from. That the arguments are unknown keeps the
/// compiler from computing anything beforehand.
///
/// # Safety
/// The pointers must be valid for as many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn inference(
    file: *const u8,
    file_bytes: usize,
    arena: *mut u8,
    arena_bytes: usize,
    text: *const u8,
    text_bytes: usize,
    temperature: f32,
) -> u32 {
    // SAFETY: as the caller promises.
    let (file, arena, text) = unsafe {
        (
            slice::from_raw_parts(file, file_bytes),
            slice::from_raw_parts_mut(arena, arena_bytes),
            slice::from_raw_parts(text, text_bytes),
        )
    };
    str::from_utf8(text)
        .ok()
        .and_then(|text| infer(file, arena, text, temperature))
        .unwrap_or(u32::MAX)
}

fn infer(file: &[u8], arena: &mut [u8], text: &str, temperature: f32) -> Option<u32> {
    let blob = Blob::open(file).ok()?;
    let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest())).ok()?;
    let tokenizer = Tokenizer::new(blob.tokenizer_section()).ok()?;
    let (turn, stops) = (blob.manifest().chat.single_turn, blob.stops(&tokenizer));
    let mut session = Session::new(blob, &plan, arena).ok()?;
    let mut ids = [0; 320];
    let mut scratch = Scratch {
        words: &mut [0; 1280],
        text: &mut [0; 1536],
    };
    let count = tokenizer
        .encode_message(turn, text, &mut [0; 256], &mut ids, &mut scratch)
        .ok()?;
    let mut sampler = Sampler::new(SamplerOptions {
        temperature,
        ..SamplerOptions::default()
    });
    let mut order = [0; 1024];
    let logits = session.prefill(ids.get(..count)?).ok()?;
    let token = sampler.sample(logits, &mut order, &[]).ok()?;
    let mut shown = 0_u32;
    let mut stream = Utf8Stream::new();
    if !stops.contains(token) && answer_room(session.context(), count) > 1 {
        let bytes = tokenizer.shown_bytes(token).unwrap_or_default();
        stream.push(bytes, |text| shown += text.len() as u32);
    }
    let logits = session.decode(token).ok()?;
    let next = sampler.sample(logits, &mut order, &[]).ok()?;
    next.checked_add(shown)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
