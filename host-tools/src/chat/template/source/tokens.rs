//! A tag of a template, in tokens.

/// A statement or an expression between its delimiters.
pub(super) struct Tag<'s> {
    /// `{{` or `{%`, with the sign after it if there is one.
    pub(super) open: &'s str,
    pub(super) tokens: Vec<Token<'s>>,
    /// The whitespace before `close`.
    pub(super) trail: &'s str,
    /// `}}` or `%}`, with the sign before it if there is one.
    pub(super) close: &'s str,
    /// Bytes of all this.
    pub(super) length: usize,
}

/// A word, a string, a number or an operator.
#[derive(Clone, Copy)]
pub(super) struct Token<'s> {
    /// The whitespace before it.
    pub(super) lead: &'s str,
    pub(super) text: &'s str,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    String,
    Operator,
}

/// Words that stand between operands and cannot be variables.
pub(super) const BETWEEN_OPERANDS: [&str; 7] = ["and", "or", "not", "in", "is", "if", "else"];

impl<'s> Tag<'s> {
    /// The tag at the beginning of `text`, if it ends.
    pub(super) fn read(text: &'s str) -> Option<Self> {
        let close = if text.starts_with("{{") { "}}" } else { "%}" };
        let signed = text[2..].starts_with(['-', '+']);
        let (open, body) = text.split_at(2 + usize::from(signed));
        let mut tokens = Vec::new();
        let mut depth = 0_usize;
        let mut rest = body;
        loop {
            let token = rest.trim_start();
            let lead = &rest[..rest.len() - token.len()];
            if depth == 0
                && let Some(close) = closing(token, close)
            {
                let length = text.len() - token.len() + close.len();
                return Some(Self {
                    open,
                    tokens,
                    trail: lead,
                    close,
                    length,
                });
            }
            let (kind, length) = next_token(token)?;
            let (token, behind) = token.split_at(length);
            match token {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            tokens.push(Token {
                lead,
                text: token,
                kind,
            });
            rest = behind;
        }
    }

    /// The word that says which statement it is, if it is one.
    pub(super) fn statement(&self) -> Option<&'s str> {
        let first = self
            .tokens
            .first()
            .filter(|_| self.open.starts_with("{%"))?;
        Some(first.text)
    }

    /// Whether it begins a block whose text is not written but kept: a
    /// `filter`, or a `set` without a value.
    pub(super) fn keeps_text(&self) -> bool {
        let mut depth = 0_usize;
        let assigns = self.tokens.iter().any(|token| {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.text == "="
        });
        match self.statement() {
            Some("filter") => true,
            Some("set") => !assigns,
            _ => false,
        }
    }

    /// Whether it is a statement that consists of this word.
    pub(super) fn is(&self, word: &str) -> bool {
        self.tokens.len() == 1 && self.statement() == Some(word)
    }
}

/// The delimiter that `text` begins with, and the sign before it.
fn closing<'s>(text: &'s str, close: &str) -> Option<&'s str> {
    let signed = usize::from(text.starts_with(['-', '+']));
    let length = signed + close.len();
    text[signed..].starts_with(close).then(|| &text[..length])
}

/// Kind and bytes of the token that `text` begins with.
fn next_token(text: &str) -> Option<(Kind, usize)> {
    let first = text.chars().next()?;
    let run =
        |belongs: fn(char) -> bool| text.find(|letter| !belongs(letter)).unwrap_or(text.len());
    Some(match first {
        '\'' | '"' => (Kind::String, string_length(text, first)?),
        '0'..='9' => (
            Kind::Number,
            run(|letter| letter.is_alphanumeric() || letter == '_'),
        ),
        _ if first.is_alphabetic() || first == '_' => (
            Kind::Word,
            run(|letter| letter.is_alphanumeric() || letter == '_'),
        ),
        _ => {
            let pairs = ["**", "//", "==", "!=", ">=", "<="];
            let is_pair = pairs.iter().any(|pair| text.starts_with(pair));
            (Kind::Operator, if is_pair { 2 } else { first.len_utf8() })
        }
    })
}

/// Bytes of the string that `text` begins with, quotes and all.
fn string_length(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let mut letters = text.char_indices().skip(1);
    let end = letters.find(|&(_, letter)| {
        let ends = letter == quote && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    });
    end.map(|(at, quote)| at + quote.len_utf8())
}
