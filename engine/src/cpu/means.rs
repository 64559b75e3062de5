//! By what means a session computes: who shares the work, and with which
//! kernels.

use crate::kernels::Isa;

/// A team and its kernels. Neither changes a single bit of the results.
#[derive(Debug)]
pub(super) struct Means<T> {
    pub(super) team: T,
    pub(super) isa: Isa,
}
