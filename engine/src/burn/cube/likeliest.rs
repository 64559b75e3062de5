//! The tokens that decide which comes next, so that a few numbers leave the device
//! and not one for each token that there is.
//!
//! Numbers are compared as integers whose order is theirs, their *keys*: devices
//! may treat what is not a number in any way, and that must be told.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::tensors::room;
use crate::burn::backend::Likely;

/// Tokens that are chosen at most. More take longer than reading all logits.
pub(super) const MOST: usize = 128;

/// Units of a cube.
const UNITS: usize = 256;

/// Tokens that a cube chooses from.
const CHUNK: usize = 4096;

/// The key of what is not a number.
const BROKEN: u32 = u32::MAX;

/// The `count` largest of each row's logits, the largest first, of equals the
/// lowest token: `[rows, width]` to keys and tokens, `[rows, count, 2]`.
///
/// Cubes choose from 4,096 each, then others from what these chose, until one
/// cube had all of a row.
pub(super) fn likeliest<R: CubeRuntime>(
    logits: CubeTensor<R>,
    [rows, width]: [usize; 2],
    count: usize,
) -> CubeTensor<R> {
    let client = logits.client.clone();
    let (mut from, mut len) = (logits, width);
    let mut are_logits = true;
    loop {
        let chunks = len.div_ceil(CHUNK);
        let out = room(&from, [rows, chunks * count, 2], DType::I32);
        choose_kernel::launch::<R>(
            &client,
            CubeCount::Static(chunks as u32, rows as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            from.into_array_arg(),
            out.clone().into_array_arg(),
            len as u32,
            count as u32,
            are_logits,
        );
        if chunks == 1 {
            return out;
        }
        (from, len, are_logits) = (out, chunks * count, false);
    }
}

/// What a key and a token say.
pub(super) fn likely([key, token]: [i32; 2]) -> Likely {
    const SIGN: u32 = 1 << 31;
    let logit = match key.cast_unsigned() {
        BROKEN => f32::NAN,
        key if key >= SIGN => f32::from_bits(key ^ SIGN),
        key => f32::from_bits(!key),
    };
    Likely {
        token: token.cast_unsigned(),
        logit,
    }
}

/// A cube has one chunk of one row, and takes the best one after the other: each
/// time the best of those that come after the last one. Key 0: there is none.
#[cube(launch)]
fn choose_kernel(
    words: &Array<u32>,
    out: &mut Array<u32>,
    len: u32,
    count: u32,
    #[comptime] are_logits: bool,
) {
    let unit = UNIT_POS_X as usize;
    let row = CUBE_POS_Y as usize * len as usize;
    let first = CUBE_POS_X as usize * CHUNK;
    let above = min(first + CHUNK, len as usize);
    let to = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) as usize * count as usize;
    let mut keys = SharedMemory::<u32>::new(UNITS);
    let mut tokens = SharedMemory::<u32>::new(UNITS);
    let mut last_key = BROKEN.runtime();
    let mut next_token = 0u32;
    for taken in 0..count as usize {
        keys[unit] = 0u32;
        tokens[unit] = 0u32;
        let mut i = first + unit;
        while i < above {
            let key = if comptime!(are_logits) {
                key_of(words[row + i])
            } else {
                words[(row + i) * 2]
            };
            let token = if comptime!(are_logits) {
                i as u32
            } else {
                words[(row + i) * 2 + 1]
            };
            let comes_after = key < last_key || (key == last_key && token >= next_token);
            // Equal keys: the lower token comes first in each unit's share.
            if comes_after && key > keys[unit] {
                keys[unit] = key;
                tokens[unit] = token;
            }
            i += UNITS;
        }
        meet(&mut keys, &mut tokens);
        last_key = keys[0];
        next_token = tokens[0] + 1u32;
        if unit == 0 {
            out[(to + taken) * 2] = last_key;
            out[(to + taken) * 2 + 1] = tokens[0];
        }
        sync_cube();
    }
}

/// An integer, above 0, that is larger the larger the number of these bits is; for
/// what is not a number the largest. Zeros are equal.
#[cube]
fn key_of(bits: u32) -> u32 {
    let magnitude = bits & 0x7fff_ffffu32;
    let is_negative = bits != magnitude && magnitude != 0u32;
    let key = select(is_negative, !bits, magnitude | 0x8000_0000u32);
    select(magnitude > 0x7f80_0000u32, BROKEN, key)
}

/// The largest key of all units and its token, the lowest of equals, come to the
/// front.
#[cube]
fn meet(keys: &mut SharedMemory<u32>, tokens: &mut SharedMemory<u32>) {
    let unit = UNIT_POS_X as usize;
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
}
