//! Parts of slices, without a panic.
//!
//! The plan makes every buffer long enough, which the compiler cannot see: it
//! would put a panic, with its message, behind each index. In programs for
//! devices these give what is there and no more. With debug assertions, as in
//! tests, a slice that is too short is a panic, since what follows would compute
//! with too few numbers; [`split_at_most_mut`] and [`after`] are for those that may be
//! short.

/// The first `len` elements.
#[track_caller]
pub(crate) fn first<T>(values: &[T], len: usize) -> &[T] {
    check(values, len);
    values.get(..len).unwrap_or(values)
}

/// Mutable [`first`].
#[track_caller]
pub(crate) fn first_mut<T>(values: &mut [T], len: usize) -> &mut [T] {
    check(values, len);
    let len = len.min(values.len());
    values.get_mut(..len).unwrap_or_default()
}

/// `len` elements from `start` on.
#[track_caller]
pub(crate) fn part<T>(values: &[T], start: usize, len: usize) -> &[T] {
    first(after(values, start), len)
}

/// Mutable [`part`].
#[track_caller]
pub(crate) fn part_mut<T>(values: &mut [T], start: usize, len: usize) -> &mut [T] {
    first_mut(values.get_mut(start..).unwrap_or_default(), len)
}

/// The first `len` elements, and the others.
#[track_caller]
pub(crate) fn split<T>(values: &[T], len: usize) -> (&[T], &[T]) {
    check(values, len);
    values.split_at(len.min(values.len()))
}

/// Mutable [`split`].
#[track_caller]
pub(crate) fn split_mut<T>(values: &mut [T], len: usize) -> (&mut [T], &mut [T]) {
    check(values, len);
    split_at_most_mut(values, len)
}

/// The first `len` elements, or all if there are fewer; and the others.
pub(crate) fn split_at_most_mut<T>(values: &mut [T], len: usize) -> (&mut [T], &mut [T]) {
    values.split_at_mut(len.min(values.len()))
}

/// The elements from `start` on; none past the end.
pub(crate) fn after<T>(values: &[T], start: usize) -> &[T] {
    values.get(start..).unwrap_or_default()
}

#[track_caller]
fn check<T>(values: &[T], len: usize) {
    debug_assert!(
        len <= values.len(),
        "{len} elements are needed, the plan has room for {}",
        values.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_what_was_asked_for() {
        let mut values = [0, 1, 2, 3];
        assert_eq!(first(&values, 2), [0, 1]);
        assert_eq!(part(&values, 1, 3), [1, 2, 3]);
        assert_eq!(part_mut(&mut values, 4, 0), [0; 0]);
        assert_eq!(split(&values, 1).1, [1, 2, 3]);
        assert_eq!(split_at_most_mut(&mut values, 9).0, [0, 1, 2, 3]);
        assert_eq!(after(&values, 9), [0; 0]);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "5 elements are needed, the plan has room for 4")]
    fn a_short_slice_is_loud() {
        let _ = first(&[0, 1, 2, 3], 5);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "3 elements are needed")]
    fn a_short_part_is_loud() {
        let _ = part_mut(&mut [0, 1, 2, 3], 2, 3);
    }
}
