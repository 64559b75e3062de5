//! Where a prompt begins: which prompts have the begin-of-text token (`bos`)
//! first, and who puts it there.
//!
//! | | a plain prompt (`--raw`, no template) | a chat |
//! |---|---|---|
//! | folder | the token if `tokenizer.json`'s post-processor puts it first, or `tokenizer_config.json` has `add_bos_token: true` | what the template writes |
//! | GGUF, `add_bos_token` true | the token | the token, once: the template's, or else put before it |
//! | GGUF, `add_bos_token` false | none | what the template writes |
//! | GGUF, no such key | as for true with the pre-tokenizers `llama-bpe`, `llama3`, `llama-v3` and `tekken`, else as for false | the same |
//!
//! For folders this is what transformers does, with one addition:
//! transformers 5 leaves `add_bos_token` to the post-processor. But DeepSeek's
//! folders say `true` and have no post-processor that does it; transformers
//! put the token first when these models were published, and their conversions
//! to GGUF have the key. So a folder and its own conversion get the same ids.
//! A `false` next to a post-processor that writes the token changes nothing.
//!
//! For GGUF it is what llama.cpp does: its chats remove a written token
//! (common/chat.cpp) and its tokenizer puts one first (src/llama-vocab.cpp),
//! and templates from which the token was removed, to avoid two of them, rely on that.
//! Here the token is put into the template when a file is packed, so that the
//! tool, a chat and a device need not know about it.
//!
//! The `bos_token` that a template sees is the tokenizer's: for folders see
//! `hf/tokens.rs`, in GGUF it is the one of `bos_token_id`. Without one
//! it is empty.

use crate::chat::{ChatTemplate, Message};
use crate::checkpoint::tokenizer::TokenizerSpec;

/// Lets plain prompts begin with the begin-of-text token, if there is one and
/// they do not yet.
pub(crate) fn begin_with_bos(spec: &mut TokenizerSpec) {
    if let Some(bos) = spec.bos
        && !spec.prefix.contains(&bos)
    {
        spec.prefix.insert(0, bos);
    }
}

/// The template, with the begin-of-text token before what it writes where it
/// does not write the token itself.
pub(crate) fn with_bos_first(template: ChatTemplate) -> ChatTemplate {
    let begins = |roles: &[&'static str]| begins_with_bos(&template, roles);
    let lacking = match (begins(&["user"]), begins(&["system", "user"])) {
        (Some(false), Some(false) | None) | (None, Some(false)) => "{{ bos_token }}",
        (Some(true), Some(false)) => "{{ bos_token if messages[0].role == 'system' else '' }}",
        (Some(false), Some(true)) => "{{ bos_token if messages[0].role != 'system' else '' }}",
        (Some(true) | None, Some(true) | None) => return template,
    };
    ChatTemplate {
        source: format!("{lacking}{}", template.source),
        ..template
    }
}

/// Whether the text of a conversation of these roles begins with the token, if
/// there is a token and the template takes such a conversation.
fn begins_with_bos(template: &ChatTemplate, roles: &[&'static str]) -> Option<bool> {
    if template.bos_token.is_empty() {
        return None;
    }
    let messages: Vec<Message> = roles.iter().map(|&role| Message::new(role, "x")).collect();
    let text = template.render(&messages).ok()?;
    // A line break before the token is the template's own choice.
    Some(
        text.trim_start()
            .starts_with(template.bos_token.trim_start()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(source: &str, roles: &[&'static str]) -> String {
        let template = with_bos_first(ChatTemplate {
            source: source.into(),
            bos_token: "<s>".into(),
            eos_token: "</s>".into(),
            ..ChatTemplate::default()
        });
        let messages: Vec<Message> = roles.iter().map(|&role| Message::new(role, role)).collect();
        template.render(&messages).unwrap()
    }

    #[test]
    fn a_chat_has_the_token_once() {
        let each = "{% for m in messages %}[{{ m.content }}]{% endfor %}";
        assert_eq!(first(each, &["user"]), "<s>[user]");
        assert_eq!(first(each, &["system", "user"]), "<s>[system][user]");
        for written in [
            "{{ bos_token }}",
            "<s>",
            "\n{{- bos_token }}",
            " {{ bos_token }}",
        ] {
            let text = first(&format!("{written}{each}"), &["user"]);
            assert_eq!(text.matches("<s>").count(), 1, "{written:?}: {text:?}");
        }
    }

    #[test]
    fn a_template_may_write_the_token_in_some_conversations_only() {
        let with_system = "{% if messages[0].role == 'system' %}{{ bos_token }}{% endif %}\
                           {{ messages[0].content }}";
        assert_eq!(first(with_system, &["user"]), "<s>user");
        assert_eq!(first(with_system, &["system", "user"]), "<s>system");
        let without = with_system.replace("==", "!=");
        assert_eq!(first(&without, &["user"]), "<s>user");
        assert_eq!(first(&without, &["system", "user"]), "<s>system");
    }

    #[test]
    fn a_template_without_system_prompts_has_the_token_too() {
        let strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}\
                      {{ messages[0].content }}";
        assert_eq!(first(strict, &["user"]), "<s>user");
    }

    #[test]
    fn without_a_token_the_template_stays() {
        let plain = ChatTemplate {
            source: "{{ messages[0].content }}".into(),
            ..ChatTemplate::default()
        };
        assert_eq!(with_bos_first(plain.clone()), plain);
        let broken = ChatTemplate {
            source: "{% if %}".into(),
            bos_token: "<s>".into(),
            ..ChatTemplate::default()
        };
        assert_eq!(with_bos_first(broken.clone()), broken);
    }

    #[test]
    fn the_token_is_put_first_once() {
        let mut spec = TokenizerSpec {
            bos: Some(7),
            prefix: vec![3],
            ..TokenizerSpec::default()
        };
        begin_with_bos(&mut spec);
        begin_with_bos(&mut spec);
        assert_eq!(spec.prefix, [7, 3]);
        let mut without = TokenizerSpec::default();
        begin_with_bos(&mut without);
        assert!(without.prefix.is_empty());
    }
}
