//! What keeps the house in order: its layers, the licences and versions of what
//! it stands on, and pictures that say what the text says.

mod duplicates;
mod layers;
mod licences;
mod pictures;
mod policy;
