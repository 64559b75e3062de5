//! Where an answer ends, and what special tokens are called. What is expected
//! follows transformers: `GenerationConfig` counts in `generate`, and is made
//! from `config.json` only where there is no `generation_config.json`.

use std::fs;

use serde_json::{Value, json};

use super::super::{HuggingFace, open};
use super::{folder, golden_config, with};
use crate::checkpoint::ImportError;

/// A folder whose files have these contents; `null` leaves one out.
fn opened(
    config_eos: Value,
    generation: Value,
    more: &[(&str, Value)],
) -> Result<HuggingFace, ImportError> {
    let config = with(
        &golden_config("tiny-llama"),
        json!({"eos_token_id": config_eos}),
    );
    let folder = folder(&config, &[]);
    let generation = [("generation_config.json", generation)];
    for (name, content) in generation.iter().chain(more) {
        if !content.is_null() {
            fs::write(folder.path().join(name), content.to_string()).unwrap();
        }
    }
    open(folder.path())
}

#[test]
fn generation_config_alone_counts_where_it_has_the_key() {
    let ends = |config, generation| {
        let folder = opened(config, generation, &[]).unwrap();
        folder.eos_token_ids().to_vec()
    };
    let none: [u32; 0] = [];
    assert_eq!(ends(json!(2), json!({"eos_token_id": [7, 1]})), [7, 1]);
    assert_eq!(ends(json!(2), json!({"eos_token_id": 7})), [7]);
    assert_eq!(
        ends(json!([2, 3, 2]), json!({"eos_token_id": null})),
        [2, 3]
    );
    assert_eq!(ends(json!(2), json!({"temperature": 0.5})), [2]);
    assert_eq!(ends(json!(2), json!(null)), [2]);
    assert_eq!(ends(json!([2, 3]), json!(null)), [2, 3]);
    assert_eq!(ends(json!(null), json!(null)), none);
    assert_eq!(ends(json!(2), json!({"eos_token_id": []})), none);
    // What does not count is not looked at.
    assert_eq!(ends(json!(99_999), json!({"eos_token_id": 7})), [7]);
}

#[test]
fn ids_without_a_token_are_refused() {
    for wrong in [
        json!(512),
        json!(-1),
        json!(1.5),
        json!("a"),
        json!(true),
        json!(1_u64 << 40),
    ] {
        for value in [wrong.clone(), json!([1, wrong])] {
            let shown = format!("`eos_token_id` is {wrong}, expected the id of a token, less than");
            for (file, found) in [
                ("config.json", opened(value.clone(), json!(null), &[])),
                (
                    "generation_config.json",
                    opened(json!(1), json!({"eos_token_id": value}), &[]),
                ),
            ] {
                let Err(error) = found else {
                    panic!("{file}: {value} was accepted")
                };
                let error = error.to_string();
                assert!(error.contains(&shown), "{error}");
                assert!(error.contains(&format!("/{file}: ")), "{error}");
            }
        }
    }
}

/// As `AutoTokenizer` of transformers 5.24 finds it, in each of these folders.
#[test]
fn special_tokens_are_the_tokenizer_s() {
    let bos = |config: Value, map: Value| {
        let more = [
            ("tokenizer_config.json", config),
            ("special_tokens_map.json", map),
        ];
        let folder = opened(json!(1), json!({"bos_token_id": 0}), &more).unwrap();
        folder.special_token("bos_token").map(str::to_owned)
    };
    let map = || json!({"bos_token": "<map>"});
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(bos(json!({"bos_token": "<s>"}), map()), some("<s>"));
    assert_eq!(
        bos(json!({"bos_token": {"content": "<s>"}}), map()),
        some("<s>")
    );
    assert_eq!(bos(json!({"bos_token": null}), json!(null)), None);
    assert_eq!(bos(json!({"bos_token": ""}), json!(null)), None);
    assert_eq!(bos(json!({}), json!(null)), None);
    assert_eq!(bos(json!(null), json!(null)), None);
    assert_eq!(bos(json!({"bos_token": null}), map()), some("<map>"));
    assert_eq!(bos(json!(null), map()), some("<map>"));
    assert_eq!(
        bos(json!({}), json!({"bos_token": {"content": "<map>"}})),
        some("<map>")
    );
    assert_eq!(bos(json!({"added_tokens_decoder": {}}), map()), None);
}
