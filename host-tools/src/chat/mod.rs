//! From messages to tokens and back: chat templates, conversations, and the
//! text that a model writes.

mod conversation;
mod draft;
mod live;
mod parts;
mod screen;
mod strangers;
mod template;
mod text;

pub use conversation::{Answer, Conversation, GenerateError, Limits, Stop};
pub use draft::Draft;
pub use live::Live;
pub use parts::PartStream;
pub use screen::{Screen, Written};
pub use template::{ChatError, ChatTemplate, Clock, Day, DayError, Message, TrialError};
pub use text::{Prompt, TextError, TextModel};
