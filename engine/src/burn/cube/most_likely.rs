//! The next token of greedy decoding, so that one number leaves the device and
//! not one for each token that there is.
//!
//! Numbers are compared as integers whose order is theirs: devices may treat
//! what is not a number in any way, and that must be told.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::tensors::room;

/// Units of a cube.
const UNITS: usize = 256;

/// Logits of a cube.
const CHUNK: usize = 4096;

/// The token of each row's largest logit, the first of equals; `-1 - t` if logit
/// `t` is the first that is not a number. `[rows, width]` to `[rows]`.
pub(super) fn most_likely<R: CubeRuntime>(logits: CubeTensor<R>, width: usize) -> CubeTensor<R> {
    let rows = logits.meta.num_elements() / width;
    let chunks = width.div_ceil(CHUNK);
    let keys = room(&logits, [rows, chunks], DType::U32);
    let tokens = room(&logits, [rows, chunks], DType::U32);
    let out = room(&logits, [rows], DType::I32);
    let client = logits.client.clone();
    let units = CubeDim::new_1d(UNITS as u32);
    chunk_kernel::launch::<R>(
        &client,
        CubeCount::Static(chunks as u32, rows as u32, 1),
        units,
        logits.into_array_arg(),
        keys.clone().into_array_arg(),
        tokens.clone().into_array_arg(),
        width,
    );
    row_kernel::launch::<R>(
        &client,
        CubeCount::Static(rows as u32, 1, 1),
        units,
        keys.into_array_arg(),
        tokens.into_array_arg(),
        out.clone().into_array_arg(),
        chunks,
    );
    out
}

/// A cube has one chunk of one row.
#[cube(launch)]
fn chunk_kernel(
    logits: &Array<f32>,
    keys: &mut Array<u32>,
    tokens: &mut Array<u32>,
    #[comptime] width: usize,
) {
    let row = CUBE_POS_Y as usize;
    let first = CUBE_POS_X as usize * CHUNK;
    let above = min(first + CHUNK, width);
    let mut best_key = 0u32;
    let mut best_token = 0u32;
    let mut i = first + UNIT_POS_X as usize;
    while i < above {
        let key = key_of(logits[row * width + i]);
        if key > best_key {
            best_key = key;
            best_token = i as u32;
        }
        i += UNITS;
    }
    let best = best_of_all(best_key, best_token);
    if UNIT_POS_X == 0 {
        let place = row * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
        keys[place] = best[0];
        tokens[place] = best[1];
    }
}

/// A cube has one row, and takes the best of its chunks.
#[cube(launch)]
fn row_kernel(
    keys: &Array<u32>,
    tokens: &Array<u32>,
    out: &mut Array<i32>,
    #[comptime] chunks: usize,
) {
    let row = CUBE_POS_X as usize;
    let mut best_key = 0u32;
    let mut best_token = 0u32;
    let mut i = UNIT_POS_X as usize;
    while i < chunks {
        let key = keys[row * chunks + i];
        if key > best_key {
            best_key = key;
            best_token = tokens[row * chunks + i];
        }
        i += UNITS;
    }
    let best = best_of_all(best_key, best_token);
    if UNIT_POS_X == 0 {
        let token = i32::cast_from(best[1]);
        out[row] = select(best[0] == 0xffff_ffffu32, -1i32 - token, token);
    }
}

/// An integer, above 0, that is larger the larger `x` is; for what is not a
/// number the largest. Zeros are equal.
#[cube]
fn key_of(x: f32) -> u32 {
    let bits = u32::reinterpret(x);
    let magnitude = bits & 0x7fff_ffffu32;
    let is_negative = bits != magnitude && magnitude != 0u32;
    let key = select(is_negative, !bits, magnitude | 0x8000_0000u32);
    select(magnitude > 0x7f80_0000u32, 0xffff_ffffu32, key)
}

/// The largest key of all units and its token, the lowest of equals.
#[cube]
fn best_of_all(key: u32, token: u32) -> Array<u32> {
    let unit = UNIT_POS_X as usize;
    let mut keys = SharedMemory::<u32>::new(UNITS);
    let mut tokens = SharedMemory::<u32>::new(UNITS);
    keys[unit] = key;
    tokens[unit] = token;
    sync_cube();
    #[unroll]
    for level in 0..comptime!(UNITS.ilog2() as usize) {
        let half = comptime!(UNITS >> (level + 1));
        if unit < half {
            let other = unit + half;
            let wins = keys[other] > keys[unit]
                || (keys[other] == keys[unit] && tokens[other] < tokens[unit]);
            if wins {
                keys[unit] = keys[other];
                tokens[unit] = tokens[other];
            }
        }
        sync_cube();
    }
    let mut best = Array::<u32>::new(2usize);
    best[0] = keys[0];
    best[1] = tokens[0];
    best
}
