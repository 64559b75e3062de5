//! Static memory at addresses that suit the engine.

/// `T` at a multiple of 64 bytes: as a briquette and an arena have to lie.
///
/// ```
/// use briquette_engine::Aligned;
///
/// static MODEL: Aligned<[u8; 4]> = Aligned(*b"BRIQ"); // or *include_bytes!(…)
/// assert!(MODEL.0.as_ptr().addr().is_multiple_of(64));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Aligned<T>(pub T);

/// An arena of `N` bytes: memory for a session whose size the compiler knows.
///
/// `N` is [`Plan::arena_bytes`](crate::cpu::Plan::arena_bytes) of the briquette
/// that is to be run. `briquette inspect` prints the number. A build script can
/// compute it, since planning reads only the file's manifest:
///
/// ```no_run
/// // build.rs, with briquette-engine among the build-dependencies
/// use briquette_engine::blob::Blob;
/// use briquette_engine::{Plan, PlanOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = std::fs::read("model.briq")?;
/// let blob = Blob::open(&file)?;
/// let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()))?;
/// let constant = format!("const ARENA_BYTES: usize = {};", plan.arena_bytes());
/// std::fs::write(format!("{}/arena.rs", std::env::var("OUT_DIR")?), constant)?;
/// # Ok(())
/// # }
/// ```
///
/// The program then includes `arena.rs`, and keeps the arena in a `static`; the
/// crate `static_cell` hands it out once, without `unsafe`:
///
/// ```
/// use briquette_engine::Arena;
/// use static_cell::ConstStaticCell;
///
/// const ARENA_BYTES: usize = 4096; // include!(concat!(env!("OUT_DIR"), "/arena.rs"))
/// static ARENA: ConstStaticCell<Arena<ARENA_BYTES>> = ConstStaticCell::new(Arena::new());
///
/// let memory: &'static mut [u8] = ARENA.take().bytes();
/// assert_eq!(memory.len(), ARENA_BYTES);
/// ```
pub type Arena<const N: usize> = Aligned<[u8; N]>;

impl<const N: usize> Aligned<[u8; N]> {
    /// Memory of zeros.
    pub const fn new() -> Self {
        Self([0; N])
    }

    /// The memory.
    pub const fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const N: usize> Default for Aligned<[u8; N]> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_lies_at_multiples_of_64_whatever_its_size() {
        static FEW: Aligned<[u8; 3]> = Aligned(*b"abc");
        let mut arena = Arena::<100>::new();
        assert_eq!(arena.bytes(), [0; 100]);
        for address in [FEW.0.as_ptr().addr(), arena.bytes().as_ptr().addr()] {
            assert!(address.is_multiple_of(64));
        }
    }
}
