//! Parts of slices, without a panic.
//!
//! The plan makes every buffer long enough, which the compiler cannot see: it
//! would put a panic, with its message, behind each index. These give what is
//! there and no more.

/// The first `len` elements.
pub(crate) fn first<T>(values: &[T], len: usize) -> &[T] {
    values.get(..len).unwrap_or(values)
}

/// As [`first`], to be changed.
pub(crate) fn first_mut<T>(values: &mut [T], len: usize) -> &mut [T] {
    let len = len.min(values.len());
    values.get_mut(..len).unwrap_or_default()
}

/// `len` elements from `start` on.
pub(crate) fn part<T>(values: &[T], start: usize, len: usize) -> &[T] {
    first(values.get(start..).unwrap_or_default(), len)
}

/// As [`part`], to be changed.
pub(crate) fn part_mut<T>(values: &mut [T], start: usize, len: usize) -> &mut [T] {
    first_mut(values.get_mut(start..).unwrap_or_default(), len)
}

/// The first `len` elements, and the others.
pub(crate) fn split<T>(values: &[T], len: usize) -> (&[T], &[T]) {
    values.split_at(len.min(values.len()))
}

/// As [`split`], to be changed.
pub(crate) fn split_mut<T>(values: &mut [T], len: usize) -> (&mut [T], &mut [T]) {
    values.split_at_mut(len.min(values.len()))
}
