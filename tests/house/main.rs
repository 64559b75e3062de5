//! What keeps the house in order: its layers, and the licences of what it
//! stands on.

mod layers;
mod licences;
