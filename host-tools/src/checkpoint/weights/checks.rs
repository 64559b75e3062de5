//! What must hold of a location and of the numbers that come from it.

use briquette_engine::blob::Shape;

use crate::checkpoint::{ImportError, Location, Transform};

/// Refuses a location whose rows lie outside its tensor or do not have the
/// canonical shape.
pub(super) fn extent(location: &Location, shape: Shape) -> Result<(), ImportError> {
    let (rows, cols) = (u64::from(shape.rows), u64::from(shape.cols));
    let (wanted_rows, wanted_cols) = match location.transform {
        Transform::Transposed => (cols, rows),
        Transform::Direct | Transform::SplitRopePairs { .. } => (rows, cols),
    };
    let last = location.first_row.checked_add(wanted_rows);
    let fits = match (stored_rows(location), last) {
        (Some(stored), Some(last)) => last <= stored,
        _ => false,
    };
    if fits && stored_cols(location) == wanted_cols && whole_heads(location, shape) {
        return Ok(());
    }
    Err(ImportError::NoSuchRows {
        tensor: location.tensor.clone(),
        first: location.first_row,
        last: location.first_row.saturating_add(wanted_rows),
    })
}

/// Refuses rows that are not as many or as wide as asked for, and numbers that
/// are not finite; `first_row` is the stored row that `values` begin with.
pub(super) fn stored_values(
    location: &Location,
    first_row: u64,
    rows: u64,
    (cols, values): (usize, &[f32]),
) -> Result<(), ImportError> {
    let expected = stored_cols(location);
    if cols as u64 != expected || Some(values.len() as u64) != rows.checked_mul(expected) {
        return Err(ImportError::Shape {
            tensor: location.tensor.clone(),
            found: vec![rows, cols as u64],
            expected: vec![rows, expected],
        });
    }
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(ImportError::NotFinite {
            tensor: location.tensor.clone(),
            row: first_row + (at / cols) as u64,
            column: (at % cols) as u64,
            value: values[at],
        }),
    }
}

/// Whether RoPE pairs, if the location has any, fill whole heads: of rows, or of
/// a vector's elements.
fn whole_heads(location: &Location, shape: Shape) -> bool {
    let Transform::SplitRopePairs {
        head_rows,
        rope_rows,
    } = location.transform
    else {
        return true;
    };
    let length = if shape.rows == 1 {
        shape.cols
    } else {
        shape.rows
    };
    let pairs = rope_rows != 0 && rope_rows.is_multiple_of(2) && rope_rows <= head_rows;
    pairs && length.is_multiple_of(head_rows)
}

fn stored_rows(location: &Location) -> Option<u64> {
    let (_, outer) = location.shape.split_last()?;
    let mut dims = outer.iter();
    dims.try_fold(1_u64, |product, &dim| product.checked_mul(dim))
}

fn stored_cols(location: &Location) -> u64 {
    location.shape.last().copied().unwrap_or(1)
}
