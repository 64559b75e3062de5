//! Chat templates: a conversation becomes text.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};

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

    /// Whether `character` stands in one of its texts.
    pub(crate) fn mentions(&self, character: char) -> bool {
        let thought = self.reasoning_content.as_deref().unwrap_or_default();
        self.content.contains(character) || thought.contains(character)
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
}

/// Why a conversation could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("the model's chat template fails: {0:#}; --raw does without it")]
pub struct ChatError(#[from] Error);

/// Steps that a template may take: templates come from files of strangers.
const FUEL: u64 = 1_000_000;

impl ChatTemplate {
    /// The text of a conversation, up to where the answer begins.
    ///
    /// # Errors
    /// If the template is broken, refuses the conversation, or runs too long.
    pub fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        let mut environment = Environment::new();
        // As transformers sets its own environment up.
        let whitespace = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?;
        environment.set_syntax(whitespace);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> Result<(), Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        // The date would make the same prompt differ from day to day.
        environment.add_function("strftime_now", |_format: String| String::new());
        let text = environment.render_str(
            &self.source,
            context! {
                messages => messages.iter().map(Message::to_value).collect::<Vec<_>>(),
                bos_token => self.bos_token.as_str(),
                eos_token => self.eos_token.as_str(),
                add_generation_prompt => true,
            },
        )?;
        Ok(text)
    }

    /// The text before and after a single user message, if the template only
    /// ever puts text around it: what a device can do without Jinja.
    pub fn single_turn(&self) -> Option<(String, String)> {
        const PROBES: [&str; 3] = ["qzv", "Two words.\n\nAnd <more> {{ text }}", "  spaced  "];
        let render = |content: &str| self.render(&[Message::new("user", content)]).ok();
        let first = render(PROBES[0])?;
        let (prefix, suffix) = first.split_once(PROBES[0])?;
        // Messages are often trimmed; a device trims them too, or not: the
        // model does not care, so only inner text must come back as it was.
        let holds = PROBES.iter().all(|probe| {
            let around = |content: &str| format!("{prefix}{content}{suffix}");
            render(probe).is_some_and(|text| text == around(probe) || text == around(probe.trim()))
        });
        (holds && !suffix.contains(PROBES[0])).then(|| (prefix.to_owned(), suffix.to_owned()))
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
}
