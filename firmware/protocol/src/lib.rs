//! What a host and a device with a briquette say to each other over a serial
//! line.
//!
//! A [`Request`] or [`Response`] is encoded with postcard, followed by its
//! CRC-32, stuffed with COBS and ended by a zero byte ([`Frames`]). Whatever
//! arrives, a receiver loses at most the damaged frame: the next zero byte
//! starts over.

#![no_std]
#![forbid(unsafe_code)]

mod frame;
mod message;
pub mod update;

pub use frame::{FrameError, Frames, MAX_FRAME, encode};
pub use message::{
    Hello, MAX_IDS, MAX_TEXT, Memory, Message, Part, Prompt, Refusal, Request, Response,
    Statistics, StopReason, VERSION, Work,
};
