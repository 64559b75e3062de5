//! The parts of the decoder's equations that every executor shares.

pub mod router;
pub(crate) mod slots;
