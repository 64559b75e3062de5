//! Chat templates, tried when they are packed and rendered when they are run.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::command::{json, succeed, tool};
use crate::place::{Workplace, copy_of};

/// A refused checkpoint leaves an existing output as it was, and no other file.
/// Packs a model with this chat template; returns the file and what was said.
fn packed_with(place: &Workplace, template: &str, options: &[&str]) -> (String, Output) {
    let (_guard, folder) = copy_of("tiny-v3");
    let config = folder.join("tokenizer_config.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    tokenizer["chat_template"] = template.into();
    fs::write(&config, tokenizer.to_string()).unwrap();
    let model = place.path("templated.briq");
    let pack = ["pack", folder.to_str().unwrap(), "-o", &model];
    let output = tool(&[&pack, options].concat());
    (model, output)
}

#[test]
fn a_chat_template_is_tried_when_it_is_packed() {
    let place = Workplace::new();
    let said = |output: Output| String::from_utf8(output.stderr).unwrap();
    let (_, output) = packed_with(&place, "{{ messages[0].content | shout }}", &[]);
    assert_eq!(output.status.code(), Some(1));
    let errors = said(output);
    assert!(errors.contains("filter shout is unknown"), "{errors}");
    assert!(errors.contains("--no-template"), "{errors}");
    let (model, output) = packed_with(&place, "{{ broken", &["--no-template"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(said(output), "");
    succeed(&["run", &model, "-p", "Hi", "-n", "1"]);
    let no_system = "{% if messages[0].role == 'system' %}{{ raise_exception('No system') }}\
                     {% endif %}{% for m in messages %}{{ m.content }}{% endfor %}";
    let (_, output) = packed_with(&place, no_system, &[]);
    assert_eq!(output.status.code(), Some(0));
    let warnings = said(output);
    assert!(
        warnings.contains("a system prompt: No system"),
        "{warnings}"
    );
    let dated = "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}";
    let (_, output) = packed_with(&place, dated, &[]);
    let warnings = said(output);
    assert!(warnings.contains("devices have no clock"), "{warnings}");
}

#[test]
fn the_date_that_a_template_asks_for_can_be_fixed() {
    let place = Workplace::new();
    let template = "{{ strftime_now('%A, %d %B %Y') }} {{ messages[0].content }}";
    let (model, _) = packed_with(&place, template, &[]);
    // Days of different lengths, from Python's calendar.
    for (date, text) in [
        ("2024-07-26", "Friday, 26 July 2024 x"),
        ("2025-09-03", "Wednesday, 03 September 2025 x"),
    ] {
        let tokens = json(&["tokenize", &model, text])["ids"]
            .as_array()
            .unwrap()
            .len();
        let answer = json(&["run", &model, "-p", "x", "-n", "1", "--date", date]);
        assert_eq!(answer["prompt_tokens"], tokens, "{date}");
    }
    let wrong = tool(&["run", &model, "-p", "x", "--date", "26.7.2024"]);
    assert_eq!(wrong.status.code(), Some(2));
    let errors = String::from_utf8(wrong.stderr).unwrap();
    assert!(errors.contains("YYYY-MM-DD"), "{errors}");
}
