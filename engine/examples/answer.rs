//! Answers a question with a briquette, on all cores: thought and answer apart.
//!
//! ```text
//! cargo run --release -p briquette-engine --features std --example answer -- \
//!     engine/examples/sentry.briq "pump 17 max 12 tank 9 min 11 ?"
//! ```

use std::error::Error;
use std::io::Write;

use briquette_engine::blob::Blob;
use briquette_engine::cpu::{ArenaLine, Threads};
use briquette_engine::kernels::Isa;
use briquette_engine::text::{
    Part, Sampler, SamplerOptions, Scratch, SingleTurn, TagRules, TagStream, Tokenizer,
};
use briquette_engine::{Plan, PlanOptions, Session};
use bytemuck::Zeroable;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(question)) = (arguments.next(), arguments.next()) else {
        return Err("usage: answer MODEL.briq QUESTION".into());
    };
    // Allocators align to 8 bytes or more, and a briquette needs 4.
    let file = std::fs::read(path)?;
    let blob = Blob::open(&file)?;

    let tokenizer = Tokenizer::new(blob.tokenizer_section())?;
    let chat = blob.manifest().chat;
    let prompt = encode(&tokenizer, chat.single_turn, &question)?;
    let tags = TagRules::of_model(&tokenizer, chat.template);
    let stops = blob.stops(&tokenizer);

    let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()))?;
    let mut lines = vec![ArenaLine::zeroed(); plan.arena_bytes().div_ceil(64) as usize];
    let arena = bytemuck::cast_slice_mut(&mut lines);
    let team = Threads::new(std::thread::available_parallelism()?.get())?;
    let mut session = Session::with_team(blob, &plan, arena, team, Isa::detect())?;

    let mut sampler = Sampler::new(SamplerOptions::default());
    let mut stream = TagStream::new(tags.part_after(&tokenizer, &prompt), tags);
    let mut logits = session.prefill(&prompt)?;
    loop {
        // Greedy: without a temperature no other token is looked at.
        let token = sampler.sample(logits, &mut [], &[])?;
        if stops.contains(token) {
            break;
        }
        if let Some(bytes) = tokenizer.shown_bytes(token) {
            stream.push_token(token, bytes, show);
        }
        if session.position() == session.context() {
            break;
        }
        logits = session.decode(token)?;
    }
    stream.finish(show);
    println!();
    Ok(())
}

/// The tokens of a conversation that `question` begins.
fn encode(
    tokenizer: &Tokenizer<'_>,
    turn: Option<SingleTurn<'_>>,
    question: &str,
) -> Result<Vec<u32>, Box<dyn Error>> {
    let mut joined = vec![0; turn.map_or(question.len(), |turn| turn.joined_bytes(question))];
    let needed = tokenizer.buffers_needed(joined.len());
    let mut ids = vec![0; needed.tokens];
    let mut scratch = Scratch {
        words: &mut vec![0; needed.words],
        text: &mut vec![0; needed.text],
    };
    let count = tokenizer.encode_message(turn, question, &mut joined, &mut ids, &mut scratch)?;
    ids.truncate(count);
    Ok(ids)
}

/// The thought goes to standard error, the answer to standard output. Terminals
/// put the bytes of a character together themselves.
fn show(part: Part, bytes: &[u8]) {
    // Nobody may be listening.
    let _ = match part {
        Part::Thinking => std::io::stderr().write_all(bytes),
        Part::Answer | Part::Outside => std::io::stdout().write_all(bytes),
    };
}
