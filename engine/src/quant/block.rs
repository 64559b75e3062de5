//! One block of 16 rows by 32 columns: writing and reading single groups.
//!
//! Byte positions inside a block, for row `r` (0..16) and column `c` (0..32):
//!
//! - `f32`, `f16`: column after column, 16 rows each: element `16 c + r`.
//! - `q8`: 16 `f16` scales, then 8 lines of 64 bytes; line `i` holds columns
//!   `4i..4i+4`, four bytes per row.
//! - `q4`: 16 `f16` scales, then 4 lines of 64 bytes; line `i` holds, four
//!   bytes per row, columns `4i..4i+4` in the low nibbles and columns
//!   `16+4i..16+4i+4` in the high ones.
//! - `q4a`: 16 `f16` scales, 16 `f16` minima, then lines as in `q4`.

use half::f16;

use super::{GROUP, LANES, NumberFormat};

/// One row's share of a block, ready to be stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BlockGroup {
    /// Plain numbers, for `f32` and `f16`.
    Plain([f32; GROUP]),
    /// Signed codes, for `q8`.
    Q8 {
        /// Step of the grid.
        scale: f16,
        /// The codes.
        codes: [i8; GROUP],
    },
    /// Codes 0..=15, for `q4` (where `min` is `-8 * scale` and not stored) and
    /// `q4a`.
    Q4 {
        /// Step of the grid.
        scale: f16,
        /// Value of code 0.
        min: f16,
        /// The codes.
        codes: [u8; GROUP],
    },
}

/// Access to one block's bytes.
#[derive(Debug)]
pub struct Block<T> {
    format: NumberFormat,
    bytes: T,
}

const Q8_CODES: usize = 2 * LANES;
const Q4_CODES: usize = 2 * LANES;
const Q4A_CODES: usize = 4 * LANES;

impl<T: AsRef<[u8]>> Block<T> {
    /// A block over `bytes`; `None` unless they are exactly as many as the
    /// format needs.
    pub fn new(format: NumberFormat, bytes: T) -> Option<Self> {
        (bytes.as_ref().len() == format.block_bytes()).then_some(Self { format, bytes })
    }

    /// The numbers of row `lane`.
    pub fn decode(&self, lane: usize) -> [f32; GROUP] {
        let bytes = self.bytes.as_ref();
        let lane = lane % LANES;
        let half_at = |at: usize| f16::from_le_bytes(get(bytes, at)).to_f32();
        let mut out = [0.0; GROUP];
        match self.format {
            NumberFormat::F32 => {
                for (c, value) in out.iter_mut().enumerate() {
                    *value = f32::from_le_bytes(get(bytes, 4 * (c * LANES + lane)));
                }
            }
            NumberFormat::F16 => {
                for (c, value) in out.iter_mut().enumerate() {
                    *value = half_at(2 * (c * LANES + lane));
                }
            }
            NumberFormat::Q8 => {
                let scale = half_at(2 * lane);
                for (c, value) in out.iter_mut().enumerate() {
                    let [code] = get(bytes, q8_position(lane, c));
                    *value = scale * f32::from(code.cast_signed());
                }
            }
            NumberFormat::Q4 => {
                let scale = half_at(2 * lane);
                for (c, value) in out.iter_mut().enumerate() {
                    let code = nibble(bytes, Q4_CODES, lane, c);
                    *value = scale * (f32::from(code) - 8.0);
                }
            }
            NumberFormat::Q4Affine => {
                let (scale, min) = (half_at(2 * lane), half_at(2 * (LANES + lane)));
                for (c, value) in out.iter_mut().enumerate() {
                    *value = scale * f32::from(nibble(bytes, Q4A_CODES, lane, c)) + min;
                }
            }
        }
        out
    }
}

impl<T: AsRef<[u8]>> Block<T> {
    /// Row `lane`'s share as it is stored: codes are not multiplied out.
    pub fn group(&self, lane: usize) -> BlockGroup {
        let bytes = self.bytes.as_ref();
        let lane = lane % LANES;
        let half_at = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let nibbles = |at| core::array::from_fn(|c| nibble(bytes, at, lane, c));
        let scale = half_at(2 * lane);
        match self.format {
            NumberFormat::F32 | NumberFormat::F16 => BlockGroup::Plain(self.decode(lane)),
            NumberFormat::Q8 => BlockGroup::Q8 {
                scale,
                codes: core::array::from_fn(|c| bytes[q8_position(lane, c)].cast_signed()),
            },
            NumberFormat::Q4 => BlockGroup::Q4 {
                scale,
                min: f16::from_f32(-8.0 * scale.to_f32()),
                codes: nibbles(Q4_CODES),
            },
            NumberFormat::Q4Affine => BlockGroup::Q4 {
                scale,
                min: half_at(2 * (LANES + lane)),
                codes: nibbles(Q4A_CODES),
            },
        }
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Block<T> {
    /// Stores row `lane`. A group of another kind than the format's is ignored:
    /// the packer never mixes them.
    pub fn encode(&mut self, lane: usize, group: &BlockGroup) {
        let lane = lane % LANES;
        let format = self.format;
        let bytes = self.bytes.as_mut();
        match (format, group) {
            (NumberFormat::F32, BlockGroup::Plain(values)) => {
                for (c, value) in values.iter().enumerate() {
                    put(bytes, 4 * (c * LANES + lane), value.to_le_bytes());
                }
            }
            (NumberFormat::F16, BlockGroup::Plain(values)) => {
                for (c, value) in values.iter().enumerate() {
                    put(
                        bytes,
                        2 * (c * LANES + lane),
                        f16::from_f32(*value).to_le_bytes(),
                    );
                }
            }
            (NumberFormat::Q8, BlockGroup::Q8 { scale, codes }) => {
                put(bytes, 2 * lane, scale.to_le_bytes());
                for (c, code) in codes.iter().enumerate() {
                    bytes[q8_position(lane, c)] = code.cast_unsigned();
                }
            }
            (NumberFormat::Q4, BlockGroup::Q4 { scale, codes, .. }) => {
                put(bytes, 2 * lane, scale.to_le_bytes());
                put_nibbles(bytes, Q4_CODES, lane, codes);
            }
            (NumberFormat::Q4Affine, BlockGroup::Q4 { scale, min, codes }) => {
                put(bytes, 2 * lane, scale.to_le_bytes());
                put(bytes, 2 * (LANES + lane), min.to_le_bytes());
                put_nibbles(bytes, Q4A_CODES, lane, codes);
            }
            _ => {}
        }
    }
}

/// The `N` bytes from `at` on; zeros past the end.
fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().unwrap_or([0; N])
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

const fn q8_position(lane: usize, c: usize) -> usize {
    Q8_CODES + (c / 4) * 4 * LANES + 4 * lane + c % 4
}

/// Where column `c`'s nibble lies, and whether it is the high one.
const fn nibble_position(codes_at: usize, lane: usize, c: usize) -> (usize, bool) {
    let low = c % (GROUP / 2);
    let at = codes_at + (low / 4) * 4 * LANES + 4 * lane + low % 4;
    (at, c >= GROUP / 2)
}

fn nibble(bytes: &[u8], codes_at: usize, lane: usize, c: usize) -> u8 {
    let (at, high) = nibble_position(codes_at, lane, c);
    let [byte] = get(bytes, at);
    if high { byte >> 4 } else { byte & 15 }
}

fn put_nibbles(bytes: &mut [u8], codes_at: usize, lane: usize, codes: &[u8; GROUP]) {
    for c in 0..GROUP / 2 {
        let (at, _) = nibble_position(codes_at, lane, c);
        bytes[at] = (codes[c] & 15) | (codes[c + GROUP / 2] << 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that differ everywhere, so that a swapped position is seen.
    fn codes(lane: usize) -> [u8; GROUP] {
        core::array::from_fn(|c| ((7 * lane + 3 * c + c / 5) % 16) as u8)
    }

    #[test]
    fn each_row_of_a_block_reads_back() {
        for format in NumberFormat::ALL {
            let mut bytes = [0_u8; NumberFormat::F32.block_bytes()];
            let mut block = Block::new(format, &mut bytes[..format.block_bytes()]).unwrap();
            let scale = f16::from_f32(0.5);
            let min = match format {
                NumberFormat::Q4 => f16::from_f32(-4.0),
                _ => f16::from_f32(-1.25),
            };
            let group = |lane| match format {
                NumberFormat::F32 | NumberFormat::F16 => {
                    BlockGroup::Plain(codes(lane).map(|c| f32::from(c) - 4.0))
                }
                NumberFormat::Q8 => BlockGroup::Q8 {
                    scale,
                    codes: codes(lane).map(|c| (i16::from(c) * 16 - 128) as i8),
                },
                NumberFormat::Q4 | NumberFormat::Q4Affine => BlockGroup::Q4 {
                    scale,
                    min,
                    codes: codes(lane),
                },
            };
            for lane in 0..LANES {
                block.encode(lane, &group(lane));
            }
            for lane in 0..LANES {
                assert_eq!(block.group(lane), group(lane), "{format:?}, row {lane}");
                let expected = codes(lane).map(|c| match format {
                    NumberFormat::F32 | NumberFormat::F16 => f32::from(c) - 4.0,
                    NumberFormat::Q8 => 0.5 * (f32::from(c) * 16.0 - 128.0),
                    NumberFormat::Q4 => 0.5 * (f32::from(c) - 8.0),
                    NumberFormat::Q4Affine => 0.5 * f32::from(c) - 1.25,
                });
                assert_eq!(block.decode(lane), expected, "{format:?}, row {lane}");
            }
        }
    }

    #[test]
    fn a_block_of_the_wrong_size_is_refused() {
        assert!(
            Block::new(
                NumberFormat::Q8,
                [0_u8; NumberFormat::Q8.block_bytes() - 1].as_slice()
            )
            .is_none()
        );
    }
}
