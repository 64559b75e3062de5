//! Rows of numbers to blocks.

use briquette_engine::quant::{
    Block, BlockGroup, GROUP, LANES, NumberFormat, fit_q4, fit_q4a, fit_q8,
};
use rayon::prelude::*;

use super::range::{Magnitudes, Misfit, with_reach};
use crate::checkpoint::{Grid, Rows};

/// Appends the blocks of `rows` to `out`. The number of rows is a multiple of
/// 16, or the matrix ends with them.
///
/// # Errors
/// If a number is too large for the format.
pub(super) fn encode_rows(
    format: NumberFormat,
    rows: &Rows,
    out: &mut Vec<u8>,
) -> Result<Magnitudes, Misfit> {
    let groups = rows.cols.div_ceil(GROUP);
    let block_row_bytes = groups * format.block_bytes();
    let block_rows = (rows.values.len() / rows.cols.max(1)).div_ceil(LANES);
    let start = out.len();
    out.resize(start + block_rows * block_row_bytes, 0);
    let block_rows: Vec<Result<Magnitudes, Misfit>> = out[start..]
        .par_chunks_mut(block_row_bytes)
        .enumerate()
        .map(|(index, bytes)| encode_block_row(format, rows, index * LANES, bytes))
        .collect();
    let mut all = block_rows.into_iter();
    all.try_fold(Magnitudes::default(), |sum, block_row| {
        Ok(sum.and(block_row?))
    })
}

fn encode_block_row(
    format: NumberFormat,
    rows: &Rows,
    first: usize,
    bytes: &mut [u8],
) -> Result<Magnitudes, Misfit> {
    let groups = rows.cols.div_ceil(GROUP);
    let values = rows.values.chunks(rows.cols).skip(first).take(LANES);
    let mut magnitudes = Magnitudes::default();
    for (lane, row) in values.enumerate() {
        let blocks = bytes.chunks_mut(format.block_bytes());
        for (g, (values, bytes)) in row.chunks(GROUP).zip(blocks).enumerate() {
            let mut padded = [0.0; GROUP];
            padded[..values.len()].copy_from_slice(values);
            let grid = rows.grids.get((first + lane) * groups + g);
            let group = encode_group(format, &padded, grid);
            let of_group = Magnitudes::of_group(first + lane, &padded, format, &group)?;
            magnitudes = magnitudes.and(of_group);
            if let Some(mut block) = Block::new(format, bytes) {
                block.encode(lane, &group);
            }
        }
    }
    Ok(magnitudes)
}

fn encode_group(format: NumberFormat, values: &[f32; GROUP], grid: Option<&Grid>) -> BlockGroup {
    let kept = grid.and_then(|grid| keep_codes(format, values, grid));
    kept.unwrap_or_else(|| {
        let fitted = match format {
            NumberFormat::F32 | NumberFormat::F16 => return BlockGroup::Plain(*values),
            NumberFormat::Q8 => fit_q8(values),
            NumberFormat::Q4 => fit_q4(values),
            NumberFormat::Q4Affine => fit_q4a(values),
        };
        with_reach(format, values, fitted)
    })
}

/// The source's own codes, if the format can hold its grid as it is.
fn keep_codes(format: NumberFormat, values: &[f32; GROUP], grid: &Grid) -> Option<BlockGroup> {
    let Grid { scale, min, bits } = *grid;
    let (step, start) = (scale.to_f32(), min.to_f32());
    let fits = match format {
        NumberFormat::Q4 => bits == 4 && start == -8.0 * step,
        NumberFormat::Q4Affine => bits == 4,
        NumberFormat::Q8 => bits == 8 && start == -128.0 * step,
        NumberFormat::F32 | NumberFormat::F16 => false,
    };
    if !fits {
        return None;
    }
    let most = f32::from((1_u16 << bits) - 1);
    let code = |value: f32| {
        if step == 0.0 {
            // Any code will do; a signed one is best kept at zero.
            return if bits == 8 { 128.0 } else { 0.0 };
        }
        ((value - start) / step).round().clamp(0.0, most)
    };
    // A grid whose ends were rounded to f16 must still hit its own numbers.
    let is_hit = |value: &f32| (step * code(*value) + start - value).abs() <= 0.05 * step.abs();
    if !values.iter().all(is_hit) {
        return None;
    }
    Some(match format {
        NumberFormat::Q8 => BlockGroup::Q8 {
            scale,
            codes: values.map(|v| (code(v) - 128.0) as i8),
        },
        _ => BlockGroup::Q4 {
            scale,
            min,
            codes: values.map(|v| code(v) as u8),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use briquette_engine::quant::Matrix;
    use half::f16;

    #[test]
    fn odd_shapes_are_padded_with_zeros() {
        let rows = Rows {
            cols: 40,
            values: (0..18 * 40).map(|i| i as f32 * 0.01).collect(),
            grids: Vec::new(),
        };
        let mut bytes = Vec::new();
        encode_rows(NumberFormat::F32, &rows, &mut bytes).unwrap();
        let matrix = Matrix::new(NumberFormat::F32, 18, 40, &bytes).unwrap();
        let mut row = [0.0; 40];
        for index in 0..18 {
            matrix.decode_row(index, &mut row);
            assert_eq!(row[..], rows.values[index * 40..(index + 1) * 40]);
        }
    }

    #[test]
    fn a_grid_that_misses_its_numbers_is_not_kept() {
        let grid = Grid {
            scale: f16::from_f32(0.001),
            min: f16::from_f32(-9.51),
            bits: 4,
        };
        // The true minimum is not an f16, and the step is small compared to it.
        let values: [f32; GROUP] = std::array::from_fn(|i| 0.001 * (i % 16) as f32 - 9.5061);
        let BlockGroup::Q4 { scale, min, codes } =
            encode_group(NumberFormat::Q4Affine, &values, Some(&grid))
        else {
            panic!("not a q4 group");
        };
        assert_ne!(scale, grid.scale);
        for (value, code) in values.iter().zip(codes) {
            let restored = scale.to_f32() * f32::from(code) + min.to_f32();
            assert!((restored - value).abs() < 0.006);
        }
    }

    #[test]
    fn a_source_grid_is_kept_exactly() {
        let scale = f16::from_f32(0.013);
        let min = f16::from_f32(-0.21);
        // Few of the sixteen levels occur, so a fresh fit would differ.
        let codes: [u8; GROUP] = std::array::from_fn(|i| 3 + (i % 5) as u8);
        let values = codes.map(|c| scale.to_f32() * f32::from(c) + min.to_f32());
        let grid = Grid {
            scale,
            min,
            bits: 4,
        };
        let group = encode_group(NumberFormat::Q4Affine, &values, Some(&grid));
        assert_eq!(group, BlockGroup::Q4 { scale, min, codes });
    }
}
