//! Prompts and answers, and what a conversation remembers.

use std::io::{self, BufRead, Write};
use std::path::Path;

use anstyle::AnsiColor;
use briquette_engine::Executor;
use briquette_engine::text::{Part, Sampler};

use super::super::CommandError;
use super::super::timing::show_timing;
use super::args::Args;
use super::report;
use crate::chat::{Answer, Conversation, Limits, Live, Message, Prompt, Stop, TextModel, Written};
use crate::support::{files, terminal};

/// A conversation with everything that it needs.
pub(super) struct Talk<'s, 't, 'a> {
    args: &'s Args,
    text: &'s TextModel<'t>,
    conversation: Conversation<'s, 'a>,
    sampler: Sampler,
    seed: u64,
}

impl<'s, 't, 'a> Talk<'s, 't, 'a> {
    pub(super) fn new(
        args: &'s Args,
        text: &'s TextModel<'t>,
        executor: &'s mut dyn Executor<'a>,
    ) -> Self {
        let options = args.sampler_options();
        Self {
            args,
            text,
            conversation: Conversation::new(executor),
            sampler: Sampler::new(options),
            seed: options.seed,
        }
    }

    /// Restores the cache that an earlier run has left.
    pub(super) fn read_prompt_cache(&mut self) -> Result<(), CommandError> {
        let Some(path) = &self.args.prompt_cache else {
            return Ok(());
        };
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(file_error(path, error)),
            Ok(bytes) => match self.conversation.restore(&bytes) {
                Ok(_) => Ok(()),
                Err(error) => Err(CommandError::Content {
                    path: path.clone(),
                    what: format!("{error}; name another file, or remove it, and it is made again"),
                }),
            },
        }
    }

    /// Leaves the cache of `prompt` to later runs, unless there is one already.
    fn write_prompt_cache(&self, prompt: &Prompt) -> Result<(), CommandError> {
        match &self.args.prompt_cache {
            Some(path) if !path.exists() => {
                let snapshot = self.conversation.snapshot(prompt.ids.len());
                let bytes = snapshot.map_err(|error| CommandError::Refused(error.to_string()))?;
                files::write_whole(path, &bytes).map_err(|error| file_error(path, error))
            }
            _ => Ok(()),
        }
    }

    /// The tokens of one prompt.
    pub(super) fn prompt(&self, prompt: &str) -> Result<Prompt, CommandError> {
        if self.args.raw {
            return Ok(self.text.raw_prompt(prompt)?);
        }
        let mut messages = self.opening();
        messages.push(Message::new("user", prompt));
        Ok(self.text.chat_prompt(&messages)?)
    }

    /// Reports on the answer to one prompt.
    pub(super) fn report(
        &self,
        prompt: &Prompt,
        answer: &Answer,
        written: &Written,
    ) -> Result<(), CommandError> {
        let mut out = io::stdout();
        if self.args.json {
            let report = report::to_json(self.args, self.seed, prompt, answer, written);
            writeln!(out, "{report}")?;
        } else {
            writeln!(out)?;
            show_timing(answer);
        }
        match answer.stop {
            Stop::Interrupted => Err(CommandError::Interrupted),
            _ => Ok(()),
        }
    }

    /// Answers line after line. A model whose template shows only one message
    /// starts over with each line.
    pub(super) fn chat(&mut self, lines: &mut dyn BufRead) -> Result<(), CommandError> {
        let style = terminal::style(AnsiColor::Green, &io::stderr());
        let remembers = self.args.raw || self.text.has_turns();
        if !remembers {
            terminal::tell_line!(
                "[this model answers one message at a time: each line starts afresh]"
            );
        }
        let mut messages = self.opening();
        loop {
            terminal::tell!("{style}> {style:#}");
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                terminal::tell_line!();
                return Ok(());
            }
            if line.trim().is_empty() {
                return Ok(());
            }
            if !remembers {
                messages = self.opening();
            }
            let line = line.trim_end_matches(['\r', '\n']);
            messages.push(Message::new("user", line));
            terminal::clear_interrupt();
            let prompt = self.text.chat_prompt(&messages)?;
            let (answer, written) = self.answer(&prompt, true)?;
            writeln!(io::stdout())?;
            show_timing(&answer);
            messages.push(said(&written));
            if answer.stop == Stop::ContextFull {
                return Ok(());
            }
        }
    }

    fn opening(&self) -> Vec<Message> {
        let system = self.args.system.iter();
        system.map(|text| Message::new("system", text)).collect()
    }

    /// Generates; returns the answer and its text, shown as it comes if `show`:
    /// the thought on stderr, so that only the answer goes down a pipe. Ends
    /// at the next token when there is no reader any more.
    pub(super) fn answer(
        &mut self,
        prompt: &Prompt,
        show: bool,
    ) -> Result<(Answer, Written), CommandError> {
        if prompt.ids.is_empty() {
            return Err(CommandError::EmptyPrompt);
        }
        if self.args.show_prompt && show {
            report::show_prompt(prompt);
        }
        let live = Live::new(show);
        let limits = Limits {
            tokens: self.args.n,
            repeat_last: self.args.repeat_last,
            thinking: self.args.think_budget,
            guarantee: self.args.guarantee,
            tags: self.args.tag_rules(self.text),
            draft: self.args.draft,
            interrupted: &|| live.is_lost() || terminal::interrupted(),
        };
        let emit = |part: Part, text: &str| live.push(part, text);
        let answer =
            self.conversation
                .answer(&prompt.ids, self.text, &mut self.sampler, &limits, emit)?;
        self.write_prompt_cache(prompt)?;
        Ok((answer, live.finish()?))
    }
}

/// What the assistant has said, for its template: thought and answer apart, as
/// templates expect them.
fn said(written: &Written) -> Message {
    let thought = written.thinking.trim();
    Message {
        reasoning_content: (!thought.is_empty()).then(|| thought.to_owned()),
        ..Message::new("assistant", written.text())
    }
}

fn file_error(path: &Path, source: io::Error) -> CommandError {
    CommandError::File {
        path: path.to_owned(),
        source,
    }
}
