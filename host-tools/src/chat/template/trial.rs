//! Trying a template before it is packed, while it can still be corrected.

use minijinja::context;
use minijinja::value::Value;

use super::{ChatError, ChatTemplate, Message};

/// Why a template is not worth packing.
#[derive(Debug, thiserror::Error)]
#[error(
    "the chat template cannot render a conversation: {}; correct it in the checkpoint, \
     or pack without it: --no-template",
    .0.reason
)]
pub struct TrialError(ChatError);

const SYSTEM: &str = "qzv is the system's.";
const QUESTION: &str = "qzv is the user's.";
const ANSWER: &str = "qzv is the assistant's.";
const THOUGHT: &str = "<think>\nqzv is thought.\n</think>\n\nqzv is said.";

impl ChatTemplate {
    /// Renders what a model is used for: a message, and a system prompt, a
    /// history, thoughts and tools in addition. Returns what cannot be rendered
    /// and why, one by one.
    ///
    /// # Errors
    /// If neither a message alone nor one with a system prompt can be.
    pub fn try_out(&self) -> Result<Vec<String>, TrialError> {
        let alone = vec![Message::new("user", QUESTION)];
        let with_system = [vec![Message::new("system", SYSTEM)], alone.clone()].concat();
        let mut lacks = Lacks::default();
        let plain = self.render(&alone);
        let system = self.render(&with_system);
        let opening = match (plain, &system) {
            (Err(error), Err(_)) => return Err(TrialError(error)),
            (Err(error), Ok(_)) => {
                lacks.note("a message without a system prompt", Some(error.reason));
                with_system
            }
            (Ok(text), _) => {
                lacks.note(
                    "a message without a system prompt",
                    missing(&text, QUESTION),
                );
                alone
            }
        };
        lacks.note("a system prompt", complaint(system, SYSTEM));
        self.try_history(&opening, &mut lacks);
        self.try_variables(&opening, &mut lacks);
        Ok(lacks.0)
    }

    /// Tries an answer after `opening`, and one with a thought in it.
    fn try_history(&self, opening: &[Message], lacks: &mut Lacks) {
        let render = |answer: &str| {
            let turns = [
                Message::new("assistant", answer),
                Message::new("user", QUESTION),
            ];
            self.render(&[opening, &turns].concat())
        };
        match complaint(render(ANSWER), ANSWER) {
            Some(why) => lacks.note("an answer before the next message", Some(why)),
            // Thoughts are often left out on purpose.
            None => lacks.note("a thought in an answer", complaint(render(THOUGHT), "")),
        }
    }

    /// Tries variables that templates have in common.
    fn try_variables(&self, opening: &[Message], lacks: &mut Lacks) {
        for (what, more) in [
            ("thinking switched on", context! { enable_thinking => true }),
            (
                "thinking switched off",
                context! { enable_thinking => false },
            ),
            ("tools", context! { tools => [tool()] }),
        ] {
            lacks.note(what, complaint(self.render_more(opening, more), ""));
        }
    }
}

/// What a template cannot render, and why not.
#[derive(Default)]
struct Lacks(Vec<String>);

impl Lacks {
    fn note(&mut self, what: &str, why: Option<String>) {
        self.0.extend(why.map(|why| format!("{what}: {why}")));
    }
}

/// What is wrong with a rendering that should have `said` in it.
fn complaint(rendering: Result<String, ChatError>, said: &str) -> Option<String> {
    match rendering {
        Ok(text) => missing(&text, said),
        Err(error) => Some(error.reason),
    }
}

/// The complaint about a text that has lost what was said.
fn missing(text: &str, said: &str) -> Option<String> {
    (!text.contains(said)).then(|| "the template leaves it out".into())
}

/// A function that a model may call, as OpenAI's interface describes it.
fn tool() -> Value {
    context! {
        type => "function",
        function => context! {
            name => "weather",
            description => "The weather at a place.",
            parameters => context! {
                type => "object",
                properties => context! {
                    place => context! { type => "string", description => "Where" },
                },
                required => ["place"],
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(source: &str) -> Vec<String> {
        template(source).try_out().unwrap()
    }

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate {
            source: source.into(),
            ..ChatTemplate::default()
        }
    }

    const ALL: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";

    #[test]
    fn a_template_that_renders_all_lacks_nothing() {
        assert_eq!(lacks(ALL), Vec::<String>::new());
    }

    #[test]
    fn what_is_refused_is_named_with_the_reason() {
        let no_system = "{% if messages[0].role == 'system' %}\
                         {{ raise_exception('System role not supported') }}{% endif %}";
        let found = lacks(&format!("{no_system}{ALL}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("a system prompt: System role not supported"),
            "{found:?}"
        );
        let needs_system = "{% if messages[0].role != 'system' %}\
                            {{ raise_exception('no system') }}{% endif %}";
        let found = lacks(&format!("{needs_system}{ALL}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a message without a system prompt: no system"));
        let no_tools = "{% if tools %}{{ tools | unheard_of }}{% endif %}";
        assert!(lacks(&format!("{no_tools}{ALL}"))[0].starts_with("tools: unknown filter"));
        let no_thought = "{% if '</think>' in messages[-1].content or \
                          messages | length > 1 and '</think>' in messages[-2].content %}{{ nothing.at.all }}{% endif %}";
        let found = lacks(&format!("{no_thought}{ALL}"));
        assert!(
            found[0].starts_with("a thought in an answer: "),
            "{found:?}"
        );
        let no_switch = "{% if enable_thinking is false %}{{ nothing.at.all }}{% endif %}";
        let found = lacks(&format!("{no_switch}{ALL}"));
        assert!(found[0].starts_with("thinking switched off: "), "{found:?}");
    }

    #[test]
    fn what_is_left_out_is_named() {
        let last = lacks("{{ messages[-1].content }}");
        assert_eq!(last.len(), 2, "{last:?}");
        assert!(
            last.iter()
                .all(|lack| lack.ends_with("the template leaves it out"))
        );
        let parts = lacks("{% for part in messages[0].content %}{{ part.text }}{% endfor %}");
        assert!(
            parts[0].starts_with("a message without a system prompt: "),
            "{parts:?}"
        );
    }

    #[test]
    fn a_template_that_renders_nothing_is_refused() {
        for source in [
            "{% if %}",
            "{{ 'a' | unheard_of }}",
            "{{ raise_exception('never') }}",
        ] {
            let error = template(source).try_out().unwrap_err().to_string();
            assert!(error.contains("--no-template"), "{error}");
            assert!(!error.contains("--raw"), "{error}");
        }
    }
}
