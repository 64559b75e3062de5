//! A tag rewritten for minijinja.

use super::scope::Names;
use super::tokens::{BETWEEN_OPERANDS, Kind, Tag, Token};
use crate::chat::template::environment::GENERATION;
use crate::chat::template::python::{EACH, REMAINDER};

/// Depth of nested brackets; minijinja refuses more.
const MAX_DEPTH: usize = 100;

/// What holds the names that a macro sees.
const SCOPE: &str = "__scope";

/// The tag's text, rewritten; if it opens a macro, `names` are those in it.
pub(super) fn rewritten(tag: &Tag<'_>, names: &Names<'_>) -> String {
    let body = match tag.statement() {
        Some("generation") if tag.tokens.len() == 1 => {
            // Jinja2 makes a block with a caller of it, too.
            let body = format!("{}call {GENERATION}()", tag.tokens[0].lead);
            with_scope(body, names)
        }
        Some("endgeneration") if tag.tokens.len() == 1 => {
            format!("{}endcall", tag.tokens[0].lead)
        }
        Some("macro" | "call") => with_scope(expressions(&tag.tokens), names),
        // Variables that are set in there are not seen outside.
        Some("endset" | "endfilter") => format!(" endwith %}}{{%{}", expressions(&tag.tokens)),
        Some("for") => for_loop(&tag.tokens),
        _ => expressions(&tag.tokens),
    };
    let with = if tag.keeps_text() { "%}{% with " } else { "" };
    [tag.open, &body, tag.trail, with, tag.close].concat()
}

fn expressions(tokens: &[Token<'_>]) -> String {
    let mut expressions = Expressions { tokens, depth: 0 };
    match expressions.until_bracket() {
        Some(body) if expressions.tokens.is_empty() => body,
        _ => tokens.iter().map(verbatim).collect(),
    }
}

/// `for` with all of a string's letters at once: minijinja does not know
/// which is the last.
fn for_loop(tokens: &[Token<'_>]) -> String {
    let outer = |words: &[&str], from: usize| {
        let mut depth = 0_usize;
        let found = tokens.iter().enumerate().skip(from).find(|(_, token)| {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && words.contains(&token.text)
        });
        found.map(|(nth, _)| nth)
    };
    let Some(start) = outer(&["in"], 0).map(|nth| nth + 1) else {
        return expressions(tokens);
    };
    let end = outer(&["if", "recursive"], start).unwrap_or(tokens.len());
    let items = expressions(&tokens[start..end]);
    let (space, items) = split_lead(&items);
    let targets: String = tokens[..start].iter().map(verbatim).collect();
    let rest = expressions(&tokens[end..]);
    format!("{targets}{space}({items})|{EACH}{rest}")
}

/// A `macro` or `call` with one more parameter, whose default mentions these
/// names.
fn with_scope(body: String, names: &Names<'_>) -> String {
    if names.is_empty() {
        return body;
    }
    let names: Vec<&str> = names.iter().copied().collect();
    let scope = format!("{SCOPE}=[{}]", names.join(", "));
    let called = body.trim_start().strip_prefix("call");
    if let Some(called) = called.filter(|called| !called.trim_start().starts_with('(')) {
        let lead = split_lead(&body).0;
        return format!("{lead}call({scope}){called}");
    }
    // A call's parameters come first, a macro's are all there is.
    let end = if called.is_some() {
        closing_bracket(&body)
    } else {
        body.rfind(')')
    };
    let Some((parameters, rest)) = end.map(|end| body.split_at(end)) else {
        return body;
    };
    let parameters = parameters.trim_end().trim_end_matches(',');
    let comma = if parameters.ends_with('(') { "" } else { ", " };
    format!("{parameters}{comma}{scope}{rest}")
}

/// Where the first bracket closes. Strings with brackets do not matter: a
/// call block's parameters are names, with literals at most.
fn closing_bracket(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    text.char_indices().find_map(|(at, letter)| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => return None,
        }
        (depth == 0).then_some(at)
    })
}

fn verbatim(token: &Token<'_>) -> String {
    [token.lead, token.text].concat()
}

/// Reads expressions as far as `a % b` makes it necessary; each method returns
/// the text of what it has read, or nothing if brackets are nested too deeply.
struct Expressions<'t, 's> {
    tokens: &'t [Token<'s>],
    depth: usize,
}

impl<'s> Expressions<'_, 's> {
    fn peek(&self) -> Option<Token<'s>> {
        self.tokens.first().copied()
    }

    fn peek_text(&self) -> &'s str {
        self.peek().map_or("", |token| token.text)
    }

    /// Takes one token as it is.
    fn take(&mut self, out: &mut String) {
        if let Some((token, rest)) = self.tokens.split_first() {
            out.push_str(token.lead);
            if token.kind == Kind::String {
                push_string(out, token.text);
            } else {
                out.push_str(token.text);
            }
            self.tokens = rest;
        }
    }

    /// Everything up to the end, or to a bracket that closes.
    fn until_bracket(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut behind_operand = false;
        while let Some(token) = self.peek() {
            if matches!(token.text, ")" | "]" | "}") {
                break;
            }
            let sign = matches!(token.text, "+" | "-") && !behind_operand;
            behind_operand = sign || begins_operand(token);
            if behind_operand {
                out.push_str(&self.product()?);
            } else {
                self.take(&mut out);
            }
        }
        Some(out)
    }

    /// Operands with `*`, `/`, `//` and `%` between them.
    fn product(&mut self) -> Option<String> {
        let mut out = self.operand()?;
        loop {
            match self.peek_text() {
                "*" | "/" | "//" => {
                    self.take(&mut out);
                    out.push_str(&self.operand()?);
                }
                "%" => {
                    let (space, left) = split_lead(&out);
                    out = format!("{space}{REMAINDER}({left}");
                    out.push_str(self.tokens[0].lead);
                    self.tokens = &self.tokens[1..];
                    out.push(',');
                    out.push_str(&self.operand()?);
                    out.push(')');
                }
                _ => return Some(out),
            }
        }
    }

    /// An operand with all that binds closer than `*`.
    fn operand(&mut self) -> Option<String> {
        let mut out = String::new();
        self.primary(&mut out)?;
        loop {
            match self.peek_text() {
                "(" | "[" => self.brackets(&mut out)?,
                "." => {
                    self.take(&mut out);
                    self.take(&mut out);
                }
                "|" => {
                    self.take(&mut out);
                    self.take(&mut out);
                }
                "is" => self.test(&mut out)?,
                "**" => {
                    self.take(&mut out);
                    self.primary(&mut out)?;
                }
                _ => return Some(out),
            }
        }
    }

    /// A test's name, and what it compares with.
    fn test(&mut self, out: &mut String) -> Option<()> {
        self.take(out);
        if self.peek_text() == "not" {
            self.take(out);
        }
        self.take(out);
        match self.peek() {
            Some(token) if token.text != "(" && begins_operand(token) => self.primary(out),
            _ => Some(()),
        }
    }

    /// A literal, a name or a pair of brackets, with signs before it.
    fn primary(&mut self, out: &mut String) -> Option<()> {
        loop {
            match self.peek_text() {
                "-" => self.take(out),
                // minijinja has no plus of one operand.
                "+" => {
                    out.push_str(self.tokens[0].lead);
                    self.tokens = &self.tokens[1..];
                }
                _ => break,
            }
        }
        match self.peek() {
            Some(token) if matches!(token.text, "(" | "[" | "{") => self.brackets(out)?,
            Some(token) if token.kind == Kind::String => {
                while self.peek().is_some_and(|token| token.kind == Kind::String) {
                    self.take(out);
                }
            }
            Some(token) if begins_operand(token) => self.take(out),
            // minijinja reports whatever is wrong here.
            _ => {}
        }
        Some(())
    }

    fn brackets(&mut self, out: &mut String) -> Option<()> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        self.take(out);
        out.push_str(&self.until_bracket()?);
        self.take(out);
        self.depth -= 1;
        Some(())
    }
}

fn begins_operand(token: Token<'_>) -> bool {
    match token.kind {
        Kind::Word => !BETWEEN_OPERANDS.contains(&token.text),
        Kind::Number | Kind::String => true,
        Kind::Operator => matches!(token.text, "(" | "[" | "{"),
    }
}

/// The whitespace at the beginning of `text`, and the rest.
fn split_lead(text: &str) -> (&str, &str) {
    text.split_at(text.len() - text.trim_start().len())
}

/// Appends a string, with those escapes rewritten that Python reads in
/// another way than minijinja does.
fn push_string(out: &mut String, string: &str) {
    let mut rest = string;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut letters = rest.chars();
        let escaped = letters.by_ref().nth(1);
        let mut behind = letters.as_str();
        match escaped {
            Some('\n') => {}
            Some('a') => out.push_str("\\x07"),
            Some('v') => out.push_str("\\x0b"),
            Some('/') => out.push_str("\\\\/"),
            Some('U') => match long_escape(behind) {
                Some(letter) => {
                    out.push(letter);
                    behind = &behind[LONG_ESCAPE..];
                }
                None => out.push_str("\\U"),
            },
            _ => out.push_str(&rest[..rest.len() - behind.len()]),
        }
        rest = behind;
    }
    out.push_str(rest);
}

/// Digits after `\U`.
const LONG_ESCAPE: usize = 8;

/// The character of `\UXXXXXXXX`, unless it means something in a string.
fn long_escape(digits: &str) -> Option<char> {
    let letter = char::from_u32(u32::from_str_radix(digits.get(..LONG_ESCAPE)?, 16).ok()?)?;
    (!matches!(letter, '\'' | '"' | '\\')).then_some(letter)
}
