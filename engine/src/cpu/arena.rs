//! Cutting one piece of memory into typed buffers.

use bytemuck::{Pod, Zeroable};

use crate::EngineError;

/// An arena's address must be a multiple of this, and each buffer's is.
pub const ARENA_ALIGNMENT: usize = 64;

/// The unit to allocate an arena in, so that its address is suitable, where its
/// size is known only at run time (else see [`Arena`](crate::Arena)):
/// `bytemuck::cast_slice_mut::<ArenaLine, u8>(&mut lines)`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct ArenaLine(pub [u8; ARENA_ALIGNMENT]);

/// Hands out buffers from the front.
#[derive(Debug)]
pub(super) struct Arena<'a> {
    rest: &'a mut [u8],
    used: u64,
}

impl<'a> Arena<'a> {
    /// An arena over all of `bytes`.
    pub(super) fn new(bytes: &'a mut [u8]) -> Result<Self, EngineError> {
        if !bytes.as_ptr().addr().is_multiple_of(ARENA_ALIGNMENT) {
            return Err(EngineError::MisalignedArena {
                needed: ARENA_ALIGNMENT,
            });
        }
        Ok(Self {
            rest: bytes,
            used: 0,
        })
    }

    /// The next `len` elements.
    pub(super) fn take<T: Pod>(&mut self, len: usize) -> Result<&'a mut [T], EngineError> {
        let bytes = padded_bytes::<T>(len);
        let got = self.used + self.rest.len() as u64;
        let needed = self.used.saturating_add(bytes);
        let too_small = EngineError::NeedsMemory { needed, got };
        let count = usize::try_from(bytes).map_err(|_| too_small)?;
        let rest = core::mem::take(&mut self.rest);
        let (front, rest) = rest.split_at_mut_checked(count).ok_or(too_small)?;
        self.rest = rest;
        self.used = needed;
        let front = front.get_mut(..len * size_of::<T>()).ok_or(too_small)?;
        bytemuck::try_cast_slice_mut(front).map_err(|_| EngineError::MisalignedArena {
            needed: align_of::<T>(),
        })
    }

    /// Bytes handed out so far. Nothing is given back, so this is the most.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }
}

/// Bytes that `len` elements take in an arena.
pub(super) const fn padded_bytes<T>(len: usize) -> u64 {
    (len as u64)
        .saturating_mul(size_of::<T>() as u64)
        .next_multiple_of(ARENA_ALIGNMENT as u64)
}
