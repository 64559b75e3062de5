//! Models as they come and as they are trained: what is read from checkpoints,
//! beside other programs, and how well the models answer.

mod differential;
mod gguf;
mod prompts;
mod sentry;
mod smollm2;
mod tokenizer;
mod training;
