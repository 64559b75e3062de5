//! What a device can do without Jinja: put text around a message.

use super::{ChatTemplate, Clock, Day, Message};

/// Messages that tell whether a template changes what it is given.
const PROBES: [&str; 3] = ["qzv", "Two words.\n\nAnd <more> {{ text }}", "  spaced  "];

impl ChatTemplate {
    /// The text before and after a single user message, if the template only
    /// ever puts text around it.
    ///
    /// This text stays, and a device has no clock. So a template that has a
    /// date of its own for that says it; any other says today's for ever, of
    /// which a warning tells.
    pub fn single_turn(&self) -> Option<(String, String)> {
        let at = |clock| {
            Self {
                clock,
                ..self.clone()
            }
            .text_around()
        };
        at(Clock::Absent).or_else(|| {
            let today = Day::today();
            let around = at(Clock::Day(today))?;
            tracing::warn!(
                "the chat template asks for the date, and devices have no clock: \
                 to them it is always {today}, the day of packing"
            );
            Some(around)
        })
    }

    fn text_around(&self) -> Option<(String, String)> {
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

    fn prefix(source: &str) -> Option<String> {
        let template = ChatTemplate {
            source: source.into(),
            ..ChatTemplate::default()
        };
        template.single_turn().map(|(prefix, _)| prefix)
    }

    #[test]
    fn devices_get_the_templates_own_date() {
        let own = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}\
                   {% else %}26 Jul 2024{% endif %}: {{ messages[0].content }}";
        assert_eq!(prefix(own).as_deref(), Some("26 Jul 2024: "));
    }

    #[test]
    fn devices_get_the_day_of_packing_where_there_is_no_other() {
        let dated = "{{ strftime_now('%Y-%m-%d') }}: {{ messages[0].content }}";
        let (before, found, after) = (Day::today(), prefix(dated), Day::today());
        let expected = [before, after].map(|day| Some(format!("{day}: ")));
        assert!(expected.contains(&found), "{found:?}");
    }
}
