//! `briquette run`: let a model answer.

mod args;
mod report;
mod talk;

pub(crate) use args::Args;

use std::io;

use super::CommandError;
use super::input::{self, Asked};
use crate::chat::{Clock, TextModel};
use crate::support::files;
use talk::Talk;

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    if let Some(cache) = &args.prompt_cache {
        files::check_output(cache)?;
    }
    let mut file = args.session.execution.open(&args.file)?;
    let (blob, storage) = file.parts()?;
    let clock = args.date.map_or(Clock::System, Clock::Day);
    let text = TextModel::new(&blob)?.with_clock(clock);
    let options = args.plan(blob.manifest())?;
    // The prompt is read once the model is known to be there.
    let asked = input::prompt(args.prompt.as_deref(), !args.json)?;
    let mut host = args.session.host();
    let mut executor = host.executor(blob, storage, options)?;
    args.warn_of_lacks(&text);
    let mut talk = Talk::new(args, &text, &mut *executor);
    talk.read_prompt_cache()?;
    match asked {
        Asked::Once(prompt) => {
            let prompt = talk.prompt(&prompt)?;
            let (answer, written) = talk.answer(&prompt, !args.json)?;
            talk.report(&prompt, &answer, &written)
        }
        Asked::Chat => talk.chat(&mut io::stdin().lock()),
    }
}
