//! Templates that minijinja would not survive.

use minijinja::{Error, ErrorKind};

use super::tokens::Tag;

/// Most tokens of one tag: each may nest an expression one level deeper.
const MAX_TOKENS: usize = 5_000;

/// Looks at one tag after the other.
#[derive(Default)]
pub(super) struct Limits<'s> {
    /// The blocks that are open.
    open: Vec<&'s str>,
}

impl<'s> Limits<'s> {
    /// Looks at the next tag.
    ///
    /// # Errors
    /// If it is too long, leaves a loop out of a block that would not be
    /// closed, or cycles through nothing.
    pub(super) fn check(&mut self, tag: &Tag<'s>) -> Result<(), Error> {
        if tag.tokens.len() > MAX_TOKENS {
            return Err(refused("an expression is too long".into()));
        }
        let mut windows = tag.tokens.windows(4);
        if windows.any(|tokens| {
            let texts = [0, 1, 2, 3].map(|nth: usize| tokens[nth].text);
            matches!(texts, [".", "cycle", "(", ")" | "*"])
        }) {
            return Err(refused("`cycle` needs something to cycle through".into()));
        }
        match tag.statement() {
            Some("for" | "if" | "with" | "autoescape") => self.open.extend(tag.statement()),
            Some("set" | "filter") if tag.keeps_text() => self.open.extend(tag.statement()),
            Some("endfor" | "endif" | "endwith" | "endfilter" | "endautoescape" | "endset") => {
                self.open.pop();
            }
            Some(leaves @ ("break" | "continue")) => return self.check_leaving(leaves),
            _ => {}
        }
        Ok(())
    }

    fn check_leaving(&self, leaves: &str) -> Result<(), Error> {
        let mut inside = self.open.iter().rev().take_while(|block| **block != "for");
        match inside.find(|block| **block != "if") {
            None => Ok(()),
            Some(block) => Err(refused(format!(
                "{{% {leaves} %}} inside of {{% {block} %}} is not supported"
            ))),
        }
    }
}

fn refused(what: String) -> Error {
    Error::new(ErrorKind::SyntaxError, what)
}
