//! What keeps the house in order: its layers, the licences of what it stands
//! on, and pictures that say what the text says.

mod layers;
mod licences;
mod pictures;
