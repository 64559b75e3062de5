//! What people say in a conversation, kept apart from what its template says:
//! the name of a control token in a message is not a control token.

use std::borrow::Cow;
use std::ops::Range;

use briquette_engine::text::Tokenizer;

use crate::chat::{ChatError, ChatTemplate, Message};

/// A conversation's text, and where special tokens are merely spelt in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// In bytes of `text`; one for each name that a message spells.
    pub(crate) strangers: Vec<Range<usize>>,
}

/// Renders `messages`. A character that is not used anywhere is put into every
/// name of a special token that they spell, so that the names are found again
/// wherever the template puts them; then it is removed.
///
/// # Errors
/// If the template fails.
pub(crate) fn render(
    template: &ChatTemplate,
    messages: &[Message],
    tokenizer: &Tokenizer<'_>,
) -> Result<Rendered, ChatError> {
    let mark = unused(template, messages);
    let marked: Vec<Message> = messages
        .iter()
        .map(|message| message.map(|text| marked(text, mark, tokenizer).into_owned()))
        .collect();
    Ok(unmarked(&template.render(&marked)?, mark))
}

/// A character that occurs neither in a message nor in the template: one of
/// Unicode's noncharacters, which no text should have.
fn unused(template: &ChatTemplate, messages: &[Message]) -> char {
    let is_free = |mark: &char| {
        !template.source.contains(*mark) && !messages.iter().any(|message| message.mentions(*mark))
    };
    ('\u{fdd0}'..='\u{fdef}')
        .find(is_free)
        .unwrap_or('\u{fffe}')
}

/// `text` with `mark` after the first character of each special token's name.
fn marked<'t>(text: &'t str, mark: char, tokenizer: &Tokenizer<'_>) -> Cow<'t, str> {
    let mut marked = Cow::Borrowed("");
    let mut rest = text;
    while let Some(found) = tokenizer.find_special(rest) {
        let first = rest[found.start..].chars().next().map_or(0, char::len_utf8);
        let (before, after) = rest.split_at(found.start + first);
        let marked = marked.to_mut();
        marked.push_str(before);
        marked.push(mark);
        marked.push_str(&after[..found.len() - first]);
        rest = &after[found.len() - first..];
    }
    if marked.is_empty() {
        return Cow::Borrowed(text);
    }
    marked.to_mut().push_str(rest);
    marked
}

/// Removes the marks; there is a name wherever one was.
fn unmarked(text: &str, mark: char) -> Rendered {
    let mut rendered = Rendered {
        text: String::with_capacity(text.len()),
        strangers: Vec::new(),
    };
    for (index, piece) in text.split(mark).enumerate() {
        let at = rendered.text.len();
        if index > 0 {
            rendered.strangers.push(at.saturating_sub(1)..at + 1);
        }
        rendered.text.push_str(piece);
    }
    rendered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_again_and_leave_nothing_behind() {
        let rendered = unmarked("a<\u{fdd0}|x|>b<\u{fdd0}|y|>", '\u{fdd0}');
        assert_eq!(rendered.text, "a<|x|>b<|y|>");
        assert_eq!(rendered.strangers, [1..3, 7..9]);
        assert_eq!(unmarked("", '\u{fdd0}').text, "");
    }
}
