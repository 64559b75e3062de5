//! A model as a microcontroller holds it: in flash, with an arena in a `static`
//! whose size the compiler knows, and without `std` but for `main`.
//!
//! ```text
//! cargo run --release -p briquette-engine --example static_arena -- \
//!     "pump 17 max 12 tank 9 min 11 ?"
//! ```

use briquette_engine::{Aligned, Arena};
use static_cell::ConstStaticCell;

/// Bytes of the file that comes with the crate.
const FILE_BYTES: usize = include_bytes!("sentry.briq").len();
/// What `briquette inspect` says that it needs; [`Arena`] shows a build script
/// that writes this line.
const ARENA_BYTES: usize = 148_864;

/// The model, where the processor reads it in place.
static MODEL: Aligned<[u8; FILE_BYTES]> = Aligned(*include_bytes!("sentry.briq"));
/// All the memory that it works in.
static ARENA: ConstStaticCell<Arena<ARENA_BYTES>> = ConstStaticCell::new(Arena::new());

fn main() {
    let question = std::env::args()
        .nth(1)
        .unwrap_or("pump 17 max 12 tank 9 min 11 ?".into());
    let answered = firmware::answer(&MODEL.0, ARENA.take().bytes(), &question, |piece| {
        print!("{piece}");
    });
    match answered {
        Ok(()) => println!(),
        Err(error) => println!("{error:?}"),
    }
}

/// What would be the same with `#![no_std]`: it names nothing of `std`.
mod firmware {
    use briquette_engine::blob::Blob;
    use briquette_engine::text::{
        Sampler, SamplerError, SamplerOptions, Scratch, Tokenizer, TokenizerError, Utf8Stream,
    };
    use briquette_engine::{EngineError, Session};
    use briquette_engine::{Plan, PlanOptions};

    /// Bytes of a question, with the chat template's text around it.
    const QUESTION: usize = 256;
    /// Tokens of the same.
    const TOKENS: usize = 64;

    /// Why there is no answer. What it holds is for `Debug`.
    #[derive(Debug)]
    #[expect(dead_code, reason = "printed, never taken apart")]
    pub enum Error {
        Engine(EngineError),
        Tokenizer(TokenizerError),
        Sampler(SamplerError),
    }

    /// Answers `question`; `show` is given the text as soon as it is certain.
    pub fn answer(
        model: &[u8],
        arena: &mut [u8],
        question: &str,
        mut show: impl FnMut(&str),
    ) -> Result<(), Error> {
        let blob = Blob::open(model).map_err(|error| Error::Engine(error.into()))?;
        let tokenizer = Tokenizer::new(blob.tokenizer_section()).map_err(Error::Tokenizer)?;
        let stops = blob.stops(&tokenizer);
        let turn = blob.manifest().chat.single_turn;
        let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()));
        let session = plan.and_then(|plan| Session::new(blob, &plan, arena));
        let mut session = session.map_err(Error::Engine)?;

        let (mut joined, mut ids) = ([0; QUESTION], [0; TOKENS]);
        let (mut words, mut normalized) = ([0; 4 * QUESTION], [0; 4 * QUESTION]);
        let mut scratch = Scratch {
            words: &mut words,
            text: &mut normalized,
        };
        let count = tokenizer
            .encode_message(turn, question, &mut joined, &mut ids, &mut scratch)
            .map_err(Error::Tokenizer)?;

        let mut sampler = Sampler::new(SamplerOptions::default());
        let mut text = Utf8Stream::new();
        let prompt = ids.get(..count).unwrap_or_default();
        let mut logits = session.prefill(prompt).map_err(Error::Engine)?;
        loop {
            let token = sampler.sample(logits, &mut [], &[]);
            let token = token.map_err(Error::Sampler)?;
            if stops.contains(token) {
                break;
            }
            if let Some(bytes) = tokenizer.shown_bytes(token) {
                text.push(bytes, &mut show);
            }
            if session.position() == session.context() {
                break;
            }
            logits = session.decode(token).map_err(Error::Engine)?;
        }
        text.finish(&mut show);
        Ok(())
    }
}
