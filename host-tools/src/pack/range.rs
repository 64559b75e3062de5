//! Whether numbers lie in the range of a format.
//!
//! The steps of grids are `f16` numbers, as plain `f16` weights are: nothing
//! above 65504, nothing but zero below 2^-24. A matrix that does not fit is
//! refused. A group of tiny numbers may become zeros only next to numbers that
//! are a million times larger.

use std::fmt;

use briquette_engine::quant::{BlockGroup, GROUP, NumberFormat};
use half::f16;

/// From here on, numbers round to infinity in `f16`.
const INFINITE: f32 = 65520.0;
/// The smallest positive `f16`.
const SMALLEST: f32 = 1.0 / (1 << 24) as f32;
/// A group may become zero next to a number that is larger by this factor.
const NEGLIGIBLE: f32 = 1e-6;

/// A number that a format cannot hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Misfit {
    /// Row of the matrix.
    pub(super) row: usize,
    /// The number.
    pub(super) value: f32,
    /// In which direction it is out of range.
    pub(super) direction: Direction,
}

/// Where a number lies that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Above what the format can hold.
    TooLarge,
    /// So close to zero that it would become zero, or nearly.
    TooSmall,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "large",
            Self::TooSmall => "small",
        })
    }
}

/// The magnitudes of a matrix, collected group by group.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Magnitudes {
    /// The largest of all, and its row.
    largest: (f32, usize),
    /// The largest that became zero with all of its group, and its row.
    vanished: (f32, usize),
}

impl Magnitudes {
    /// The magnitudes of one group of row `row`.
    ///
    /// # Errors
    /// If the group holds a number that is too large for its format.
    pub(super) fn of_group(
        row: usize,
        values: &[f32; GROUP],
        format: NumberFormat,
        group: &BlockGroup,
    ) -> Result<Self, Misfit> {
        let value = extreme(values);
        if !is_within(format, values) {
            return Err(Misfit {
                row,
                value,
                direction: Direction::TooLarge,
            });
        }
        let largest = (value.abs(), row);
        let restored = restored(format, group);
        let vanished = if restored.iter().all(|number| *number == 0.0) {
            largest
        } else {
            (0.0, row)
        };
        Ok(Self { largest, vanished })
    }

    /// The magnitudes of both together.
    pub(super) fn and(self, other: Self) -> Self {
        let larger = |a: (f32, usize), b: (f32, usize)| if b.0 > a.0 { b } else { a };
        Self {
            largest: larger(self.largest, other.largest),
            vanished: larger(self.vanished, other.vanished),
        }
    }

    /// The same, where rows were counted from row `first`.
    pub(super) const fn counted_from(mut self, first: usize) -> Self {
        self.largest.1 += first;
        self.vanished.1 += first;
        self
    }

    /// Checks a whole matrix.
    ///
    /// # Errors
    /// If all of it is too close to zero, or a group that matters next to the
    /// other numbers is.
    pub(super) fn check(&self, format: NumberFormat) -> Result<(), Misfit> {
        let least = match format {
            NumberFormat::F32 => 0.0,
            // Below its normal numbers f16 loses digits.
            NumberFormat::F16 => f16::MIN_POSITIVE.to_f32(),
            NumberFormat::Q8 => 127.0 * SMALLEST,
            NumberFormat::Q4 | NumberFormat::Q4Affine => 8.0 * SMALLEST,
        };
        let too_small = |(value, row): (f32, usize)| Misfit {
            row,
            value,
            direction: Direction::TooSmall,
        };
        if self.largest.0 > 0.0 && self.largest.0 < least {
            return Err(too_small(self.largest));
        }
        if self.vanished.0 > NEGLIGIBLE * self.largest.0 {
            return Err(too_small(self.vanished));
        }
        Ok(())
    }
}

/// The group on a grid with the next larger step, where `f16` rounded the step
/// of tiny numbers down so far that the grid misses them; else the group itself.
pub(super) fn with_reach(
    format: NumberFormat,
    values: &[f32; GROUP],
    group: BlockGroup,
) -> BlockGroup {
    match group {
        BlockGroup::Q8 { scale, .. } if extreme(values).abs() > 128.0 * scale.to_f32() => {
            let scale = f16::from_bits(scale.to_bits() + 1);
            let step = scale.to_f32();
            let codes = values.map(|v| (v / step).round_ties_even().clamp(-127.0, 127.0) as i8);
            BlockGroup::Q8 { scale, codes }
        }
        BlockGroup::Q4 { scale, .. } if scale == f16::ZERO => {
            let finest = on_finest_grid(format, values);
            let error = |group: &BlockGroup| squared_error(values, &restored(format, group));
            if error(&finest) < error(&group) {
                finest
            } else {
                group
            }
        }
        other => other,
    }
}

/// The group on the four-bit grid of the smallest step that `f16` has.
fn on_finest_grid(format: NumberFormat, values: &[f32; GROUP]) -> BlockGroup {
    let (scale, min) = if format == NumberFormat::Q4 {
        // Code 0 reaches further: it is for the number of largest magnitude.
        let step = if extreme(values) > 0.0 {
            -SMALLEST
        } else {
            SMALLEST
        };
        (step, -8.0 * step)
    } else {
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        (SMALLEST, low)
    };
    let (scale, min) = (f16::from_f32(scale), f16::from_f32(min));
    let (step, start) = (scale.to_f32(), min.to_f32());
    BlockGroup::Q4 {
        scale,
        min,
        codes: values.map(|v| ((v - start) / step).round_ties_even().clamp(0.0, 15.0) as u8),
    }
}

/// The numbers that the group stands for in a format.
fn restored(format: NumberFormat, group: &BlockGroup) -> [f32; GROUP] {
    match group {
        BlockGroup::Plain(values) if format == NumberFormat::F16 => {
            values.map(|value| f16::from_f32(value).to_f32())
        }
        BlockGroup::Plain(values) => *values,
        BlockGroup::Q8 { scale, codes } => codes.map(|code| scale.to_f32() * f32::from(code)),
        BlockGroup::Q4 { scale, min, codes } => {
            let step = scale.to_f32();
            let start = match format {
                NumberFormat::Q4 => -8.0 * step,
                _ => min.to_f32(),
            };
            codes.map(|code| step * f32::from(code) + start)
        }
    }
}

fn squared_error(values: &[f32; GROUP], restored: &[f32; GROUP]) -> f64 {
    let pairs = values.iter().zip(restored);
    pairs
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum()
}

/// Whether no number of the group is too large for the format: its fit may be
/// finite all the same, with a grid that ends before the number.
fn is_within(format: NumberFormat, values: &[f32; GROUP]) -> bool {
    let largest = extreme(values).abs();
    match format {
        NumberFormat::F32 => true,
        NumberFormat::F16 => largest < INFINITE,
        NumberFormat::Q8 => largest / 127.0 < INFINITE,
        NumberFormat::Q4 => largest / 8.0 < INFINITE,
        NumberFormat::Q4Affine => {
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            low.abs() < INFINITE && (high - low) / 15.0 < INFINITE
        }
    }
}

/// The number of largest magnitude.
fn extreme(values: &[f32; GROUP]) -> f32 {
    let larger = |a: f32, b: &f32| if b.abs() > a.abs() { *b } else { a };
    values.iter().fold(0.0, larger)
}

#[cfg(test)]
mod tests {
    use briquette_engine::quant::{fit_q4, fit_q4a, fit_q8};

    use super::*;

    const FORMATS: [NumberFormat; 4] = [
        NumberFormat::F16,
        NumberFormat::Q8,
        NumberFormat::Q4,
        NumberFormat::Q4Affine,
    ];

    fn fit(format: NumberFormat, values: &[f32; GROUP]) -> BlockGroup {
        match format {
            NumberFormat::F32 | NumberFormat::F16 => BlockGroup::Plain(*values),
            NumberFormat::Q8 => fit_q8(values),
            NumberFormat::Q4 => fit_q4(values),
            NumberFormat::Q4Affine => fit_q4a(values),
        }
    }

    fn wave(size: f32) -> [f32; GROUP] {
        std::array::from_fn(|i| size * (i as f32 * 1.7).sin())
    }

    fn check(format: NumberFormat, groups: &[[f32; GROUP]]) -> Result<(), Misfit> {
        let mut all = Magnitudes::default();
        for (row, values) in groups.iter().enumerate() {
            let group = with_reach(format, values, fit(format, values));
            all = all.and(Magnitudes::of_group(row, values, format, &group)?);
        }
        all.check(format)
    }

    #[test]
    fn ordinary_groups_are_left_as_they_are() {
        for format in FORMATS {
            for exponent in -12..=3 {
                let values = wave(2.0_f32.powi(exponent));
                let group = fit(format, &values);
                assert_eq!(
                    with_reach(format, &values, group),
                    group,
                    "{format:?} {exponent}"
                );
                check(format, &[values]).unwrap();
            }
            check(format, &[[0.0; GROUP]]).unwrap();
        }
    }

    /// The largest finite number of f16 is 65504 (IEEE 754), of its grids 127,
    /// 8 and 15 times that.
    #[test]
    fn numbers_above_a_format_are_found() {
        for (format, fits, too_large) in [
            (NumberFormat::F16, 65504.0, 65536.0),
            (NumberFormat::Q8, 8.3e6, 8.4e6),
            (NumberFormat::Q4, 5.2e5, 5.6e5),
            (NumberFormat::Q4Affine, 6.5e4, 7e4),
        ] {
            check(format, &[wave(1.0), wave(1.0).map(|v| v.signum() * fits)]).unwrap();
            let found = check(format, &[wave(1.0), [-too_large; GROUP]]).unwrap_err();
            let expected = Misfit {
                row: 1,
                value: -too_large,
                direction: Direction::TooLarge,
            };
            assert_eq!(found, expected, "{format:?}");
        }
        check(NumberFormat::F32, &[[3e38; GROUP]]).unwrap();
        // Next to others the fit would leave the number out of its grid.
        let mut one = wave(1.0);
        one[7] = 7e5;
        assert!(check(NumberFormat::Q4, &[one]).is_err());
    }

    #[test]
    fn tiny_groups_keep_what_the_smallest_step_can_say() {
        for format in [NumberFormat::Q8, NumberFormat::Q4, NumberFormat::Q4Affine] {
            for size in [1.3e-5, 4e-6, 1e-6, 3e-7, 1.5e-7] {
                let values = wave(size);
                let group = with_reach(format, &values, fit(format, &values));
                // Four bits reach less far on one side.
                let share = if format == NumberFormat::Q8 {
                    0.02
                } else {
                    0.2
                };
                let bound = (0.5 * SMALLEST).max(size * share);
                for (value, restored) in values.iter().zip(restored(format, &group)) {
                    let error = (value - restored).abs();
                    assert!(error <= bound * 1.01, "{format:?} {size:e}: {error:e}");
                }
            }
        }
    }

    #[test]
    fn a_matrix_of_tiny_numbers_is_refused() {
        for (format, size) in [
            (NumberFormat::F16, 2e-5),
            (NumberFormat::Q8, 2e-6),
            (NumberFormat::Q4, 2e-7),
            (NumberFormat::Q4Affine, 2e-7),
        ] {
            let found = check(format, &[[0.0; GROUP], wave(size)]).unwrap_err();
            assert_eq!(
                (found.row, found.direction),
                (1, Direction::TooSmall),
                "{format:?}"
            );
            check(NumberFormat::F32, &[wave(size)]).unwrap();
        }
    }

    #[test]
    fn a_group_may_vanish_beside_much_larger_ones_only() {
        for format in FORMATS {
            check(format, &[wave(1.0), wave(1e-20), wave(1e-9)]).unwrap();
            let found = check(format, &[wave(1e-3), wave(2.5e-8)]);
            assert_eq!(found.map_err(|misfit| misfit.row), Err(1), "{format:?}");
        }
    }
}
