//! What a kernel in assembly is called with.

/// A block row times one token's input, as the assembly sees it.
#[repr(C)]
pub(super) struct Job {
    pub(super) codes: *const i8,
    pub(super) scales: *const f32,
    pub(super) sums: *const i32,
    /// How many groups there are of each, and how many blocks: at least one.
    pub(super) groups: usize,
    pub(super) blocks: *const u8,
    /// 16 sums.
    pub(super) out: *mut f32,
}

/// A kernel in assembly.
pub(super) type Assembly = unsafe extern "C" fn(&Job);
