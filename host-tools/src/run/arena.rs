//! The memory that a session works in.

use briquette_engine::cpu::{ArenaLine, Plan};
use memmap2::MmapMut;

use super::LoadError;

/// The one piece of memory that a session works in, in huge pages where the
/// system has any: attention walks through all of a long cache.
#[derive(Debug)]
pub struct Arena(MmapMut);

impl Arena {
    /// Exactly as many bytes as `plan` asks for.
    ///
    /// # Errors
    /// If the system does not have them.
    pub fn for_plan(plan: &Plan) -> Result<Self, LoadError> {
        Self::with_bytes(plan.arena_bytes())
    }

    /// `bytes` bytes, rounded up to whole lines.
    ///
    /// # Errors
    /// If the system does not have them.
    pub fn with_bytes(bytes: u64) -> Result<Self, LoadError> {
        let fail = || LoadError::Memory { bytes };
        let line = size_of::<ArenaLine>() as u64;
        let rounded = bytes
            .max(1)
            .checked_next_multiple_of(line)
            .ok_or_else(fail)?;
        let len = usize::try_from(rounded).map_err(|_| fail())?;
        let map = MmapMut::map_anon(len).map_err(|_| fail())?;
        ask_for_huge_pages(&map);
        Ok(Self(map))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The mutable bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// A system without huge pages refuses; then small ones have to suffice.
pub(super) fn ask_for_huge_pages(map: &MmapMut) {
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    #[cfg(not(target_os = "linux"))]
    let _ = map;
}
