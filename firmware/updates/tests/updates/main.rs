//! Updates on a simulated flash: power that fails at every operation, updates
//! that must be refused, and operations in any order.

mod device;
mod nor;
mod orders;
mod power;
mod refusals;
mod trial;
