//! Briquettes that are not memory-mapped: in serial flash, on a card, in a file.
//!
//! [`load`] reads everything but the experts into memory; a session reads these
//! when tokens choose them, into the slots of its arena
//! ([`PlanOptions::expert_slots`](crate::PlanOptions::expert_slots)).

mod check;
mod load;
mod nor;

pub(crate) use check::{check_file, read};
pub use load::load;
pub use nor::NorStorage;

/// Offset and length of each read are multiples of this, counted from the
/// briquette's first byte.
pub const READ_UNIT: usize = 64;

/// A read failed; the storage knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the storage failed")]
pub struct ReadFailed;

/// Where a briquette is stored, from its first byte on.
///
/// ```
/// use briquette_engine::storage::{BlockStorage, ReadFailed};
///
/// struct Memory<'a>(&'a [u8]);
///
/// impl BlockStorage for Memory<'_> {
///     fn capacity(&self) -> u64 {
///         self.0.len() as u64
///     }
///
///     fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadFailed> {
///         let start = usize::try_from(offset).map_err(|_| ReadFailed)?;
///         let from = self.0.get(start..).and_then(|rest| rest.get(..bytes.len()));
///         bytes.copy_from_slice(from.ok_or(ReadFailed)?);
///         Ok(())
///     }
/// }
/// ```
pub trait BlockStorage: Send {
    /// Bytes that can be read: the briquette's, or more.
    fn capacity(&self) -> u64;

    /// Fills `bytes` with what is stored from `offset` on. Both `offset` and
    /// the length are multiples of [`READ_UNIT`].
    ///
    /// # Errors
    /// [`ReadFailed`] if any could not be read; `bytes` may then hold anything.
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadFailed>;
}
