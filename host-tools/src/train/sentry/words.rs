//! The words of the task, one token each, and their tokenizer.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::{Bound, NAMES, Verdict};

/// A token of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Begins a text.
    Begin,
    /// Ends a text.
    End,
    /// Stands for everything that is no word of the task.
    Unknown,
    /// `<think>`
    Think,
    /// `</think>`
    EndThink,
    /// `<answer>`
    Answer,
    /// `</answer>`
    EndAnswer,
    /// `max` or `min`.
    Bound(Bound),
    /// `alarms`
    Alarms,
    /// `?`
    Question,
    /// `<`, `=` or `>`.
    Order(Ordering),
    /// `hi`, `lo` or `ok`.
    Verdict(Verdict),
    /// `;` between two steps.
    Next,
    /// `wait` takes the last verdict back.
    Wait,
    /// `none`: no sensor is out of bounds.
    None,
    /// A sensor.
    Name(u8),
    /// 0 to 99.
    Number(u8),
}

/// How every token but the names and the numbers is written, by id.
const FIXED: [&str; 20] = [
    "<|bos|>",
    "<|eos|>",
    "<|unk|>",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "max",
    "min",
    "alarms",
    "?",
    "<",
    "=",
    ">",
    "hi",
    "lo",
    "ok",
    ";",
    "wait",
    "none",
];
/// Tokens that are no words: found in a text before anything else.
const SPECIAL: usize = 7;
const FIRST_NAME: u32 = FIXED.len() as u32;
const FIRST_NUMBER: u32 = FIRST_NAME + NAMES.len() as u32;
const NUMBERS: u32 = 100;

impl Word {
    /// Tokens that there are.
    pub const COUNT: usize = (FIRST_NUMBER + NUMBERS) as usize;

    /// The token's id.
    pub const fn id(self) -> u32 {
        match self {
            Self::Begin => 0,
            Self::End => 1,
            Self::Unknown => 2,
            Self::Think => 3,
            Self::EndThink => 4,
            Self::Answer => 5,
            Self::EndAnswer => 6,
            Self::Bound(Bound::Max) => 7,
            Self::Bound(Bound::Min) => 8,
            Self::Alarms => 9,
            Self::Question => 10,
            Self::Order(Ordering::Less) => 11,
            Self::Order(Ordering::Equal) => 12,
            Self::Order(Ordering::Greater) => 13,
            Self::Verdict(Verdict::High) => 14,
            Self::Verdict(Verdict::Low) => 15,
            Self::Verdict(Verdict::Fine) => 16,
            Self::Next => 17,
            Self::Wait => 18,
            Self::None => 19,
            Self::Name(name) => FIRST_NAME + name as u32,
            Self::Number(number) => FIRST_NUMBER + number as u32,
        }
    }

    /// The sensor that a token names.
    pub fn as_name(id: u32) -> Option<u8> {
        let name = u8::try_from(id.checked_sub(FIRST_NAME)?).ok()?;
        (usize::from(name) < NAMES.len()).then_some(name)
    }
}

/// Writes the messages one after the other, without roles.
pub const CHAT_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %} {{ message['content'] \
                                 | trim }}{% endfor %}";

/// The `tokenizer.json` of the task: words and numbers are looked up whole,
/// with the space before them.
pub fn tokenizer_json() -> Value {
    let words = FIXED.iter().chain(&NAMES).map(|word| (*word).to_owned());
    let numbers = (0..NUMBERS).map(|number| number.to_string());
    let mut vocab = Map::new();
    for (id, word) in words.chain(numbers).enumerate() {
        let piece = if id < SPECIAL {
            word
        } else {
            format!("Ġ{word}")
        };
        vocab.insert(piece, json!(id));
    }
    let added: Vec<Value> = FIXED[..SPECIAL]
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({
                "id": id, "content": content, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        })
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<|bos|>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {
                "<|bos|>": {"id": "<|bos|>", "ids": [Word::Begin.id()], "tokens": ["<|bos|>"]},
            },
        },
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<|unk|>",
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "ignore_merges": true, "vocab": vocab, "merges": [],
        },
    })
}
