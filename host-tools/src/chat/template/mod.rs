//! Chat templates: a conversation becomes text.

mod clock;
mod environment;
mod json;
mod python;
mod single_turn;
mod source;
mod trial;
mod variables;

use minijinja::context;
use minijinja::value::Value;

pub use clock::{Clock, Day, DayError};
pub use trial::TrialError;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// What was said.
    pub content: String,
    /// What the assistant thought before it said so.
    pub reasoning_content: Option<String>,
}

impl Message {
    /// A message without a thought.
    pub fn new(role: &'static str, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            reasoning_content: None,
        }
    }

    /// The message with each of its texts changed.
    pub(crate) fn map(&self, change: impl Fn(&str) -> String) -> Self {
        Self {
            role: self.role,
            content: change(&self.content),
            reasoning_content: self.reasoning_content.as_deref().map(change),
        }
    }

    /// Whether `character` occurs in one of its texts.
    pub(crate) fn mentions(&self, character: char) -> bool {
        self.texts().any(|text| text.contains(character))
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let thought = self.reasoning_content.as_deref();
        [self.content.as_str()].into_iter().chain(thought)
    }

    fn to_value(&self) -> Value {
        let thought = self.reasoning_content.as_deref();
        Value::from_pairs(
            [("role", self.role), ("content", &self.content)]
                .into_iter()
                .chain(thought.map(|thought| ("reasoning_content", thought))),
        )
    }
}

/// A model's Jinja template and the tokens that it may name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatTemplate {
    /// The template's source.
    pub source: String,
    /// Text of the begin-of-text token.
    pub bos_token: String,
    /// Text of the end-of-text token.
    pub eos_token: String,
    /// The date that the template sees.
    pub clock: Clock,
}

/// Why a conversation could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("the model's chat template fails: {reason}; --raw does without it")]
pub struct ChatError {
    /// What is wrong and where, without advice.
    reason: String,
}

impl ChatTemplate {
    /// The text of a conversation, up to where the answer begins.
    ///
    /// # Errors
    /// If the template is broken, refuses the conversation, or runs too long.
    pub fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        self.render_more(messages, Value::UNDEFINED)
    }

    /// As [`Self::render`], with more variables, which come first.
    fn render_more(&self, messages: &[Message], more: Value) -> Result<String, ChatError> {
        let texts = messages.iter().flat_map(Message::texts);
        let bytes = texts.map(str::len).sum();
        let messages: Vec<Value> = messages.iter().map(Message::to_value).collect();
        // Without tools and documents, transformers says that there are none.
        let variables = context! {
            ..more,
            ..context! {
                messages,
                tools => (),
                documents => (),
                bos_token => self.bos_token.as_str(),
                eos_token => self.eos_token.as_str(),
                add_generation_prompt => true,
            }
        };
        self.render_at_length(variables, bytes)
    }

    /// The text that the template makes of any variables, to compare it with
    /// Jinja2's.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_with(&self, variables: &serde_json::Value) -> Result<String, ChatError> {
        let bytes = variables.to_string().len();
        let variables = variables::from_json(variables);
        self.render_at_length(variables, bytes)
    }

    fn render_at_length(&self, variables: Value, bytes: usize) -> Result<String, ChatError> {
        let text = environment::render(&self.source, variables, self.clock, bytes);
        text.map_err(|reason| ChatError { reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate {
            source: source.into(),
            bos_token: "<s>".into(),
            eos_token: "</s>".into(),
            clock: Clock::default(),
        }
    }

    fn user(content: &str) -> Message {
        Message::new("user", content)
    }

    #[test]
    fn conversations_are_rendered_as_transformers_does() {
        let chatml = template(
            "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + \
             '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}\
             {{ '<|im_start|>assistant\n' }}{% endif %}",
        );
        let text = chatml.render(&[user("Hi")]).unwrap();
        assert_eq!(
            text,
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
        let (prefix, suffix) = chatml.single_turn().unwrap();
        assert_eq!(prefix, "<|im_start|>user\n");
        assert_eq!(suffix, "<|im_end|>\n<|im_start|>assistant\n");
    }

    #[test]
    fn a_template_that_changes_the_message_has_no_single_turn() {
        let shouting = template("{{ messages[0].content | upper }}!");
        assert_eq!(shouting.single_turn(), None);
        let twice = template("{{ messages[0].content }} {{ messages[0].content }}");
        assert_eq!(twice.single_turn(), None);
    }

    #[test]
    fn refusals_and_endless_templates_are_errors() {
        let refusing = template("{{ raise_exception('no system message') }}");
        let error = refusing.render(&[user("Hi")]).unwrap_err().to_string();
        assert!(error.contains("no system message"), "{error}");
        let endless = template(
            "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        );
        assert!(endless.render(&[user("Hi")]).is_err());
        assert!(template("{% if %}").render(&[]).is_err());
    }

    #[test]
    fn python_methods_work() {
        let stripping = template("{{ messages[0]['content'].strip() }}|{{ bos_token }}");
        assert_eq!(stripping.render(&[user("  a ")]).unwrap(), "a|<s>");
    }

    /// Texts that Jinja2 3.1.6 has made, set up by transformers 5.24:
    /// `tests/differential/templates.py --write-samples`.
    #[test]
    fn samples_come_out_as_jinja2_renders_them() {
        let samples = include_str!("../../../../tests/differential/templates.json");
        let samples: Vec<serde_json::Value> = serde_json::from_str(samples).unwrap();
        assert!(samples.len() > 50);
        for sample in samples {
            let template = ChatTemplate {
                source: sample["template"].as_str().unwrap().to_owned(),
                clock: Clock::Day("2026-03-07".parse().unwrap()),
                ..ChatTemplate::default()
            };
            let text = template.render_with(&sample["variables"]).unwrap();
            assert_eq!(
                text,
                sample["text"].as_str().unwrap(),
                "{}",
                template.source
            );
        }
    }

    #[test]
    fn there_are_no_tools_and_no_documents() {
        let asks = template(
            "{{ tools is none }} {{ tools is defined }} {{ tools is not none }} \
             {{ documents is none }} {{ enable_thinking is defined }}",
        );
        assert_eq!(asks.render(&[]).unwrap(), "True True False True False");
    }

    #[test]
    fn the_date_is_real_fixed_or_absent() {
        let says = "{{ strftime_now('%Y-%m-%d') if strftime_now is defined else 'no clock' }}";
        let at = |clock| {
            ChatTemplate {
                clock,
                ..template(says)
            }
            .render(&[])
            .unwrap()
        };
        assert_eq!(at(Clock::Day("2024-07-26".parse().unwrap())), "2024-07-26");
        assert_eq!(at(Clock::Absent), "no clock");
        let (before, now, after) = (Day::today(), at(Clock::System), Day::today());
        assert!(
            [before.to_string(), after.to_string()].contains(&now),
            "{now}"
        );
    }

    #[test]
    fn errors_say_what_and_where() {
        let reason = |source: &str| template(source).render(&[]).unwrap_err().to_string();
        assert_eq!(
            reason("\n{{ raise_exception('No system!') }}"),
            "the model's chat template fails: No system! (line 2 of the template); \
             --raw does without it"
        );
        let unknown = reason("{{ 'a' | shout }}");
        assert!(unknown.contains("filter shout is unknown"), "{unknown}");
        let undefined = reason("{{ somebody.name }}");
        assert!(undefined.contains("`somebody` is undefined"), "{undefined}");
    }

    /// Walking through deep values must not end the program, whatever comes
    /// out.
    #[test]
    fn hostile_templates_end_in_an_error() {
        for source in [
            "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}\
             {% endfor %}",
            "{{ '%9999999999d' % 1 }}",
            "{{ '{:>9999999999}'.format(1) }}",
            "{{ 'a'.ljust(9999999999) }}",
            "{{ ('a' * 90000).replace('', 'b' * 90000) }}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        ] {
            assert!(template(source).render(&[]).is_err(), "{source}");
        }
        let deep = format!("{{{{ {}1 }}}}", "not ".repeat(100_000));
        assert!(template(&deep).render(&[]).is_err());
        // What comes of these does not matter.
        for end in [
            "{{ n.x }}",
            "{{ n.x == [n.x] }}",
            "{{ n.x | tojson }}",
            "{{ n.x.y.z }}",
        ] {
            let deep = "{% set n = namespace(x=[]) %}{% for i in range(90000) %}\
                        {% set n.x = [n.x] %}{% endfor %}";
            let _ = template(&format!("{deep}{end}")).render(&[]);
        }
    }

    #[test]
    fn a_long_conversation_does_not_run_out_of_steps() {
        // Every message looks at all that came before it.
        let quadratic = template(
            "{% for m in messages %}{% for before in messages[:loop.index0] %}\
             {% if before.content == m.content %}{% endif %}{% endfor %}{{ m.content }}{% endfor %}",
        );
        let messages: Vec<Message> = (0..600)
            .map(|nth| user(&format!("message {nth}")))
            .collect();
        quadratic.render(&messages).unwrap();
    }
}
