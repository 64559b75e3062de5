//! The same ids as Hugging Face's `tokenizers` crate, on two megabytes of text.

use std::path::PathBuf;
use std::str::FromStr;

use briquette::checkpoint::tokenizer::{from_json, to_section};
use briquette_engine::text::{EncodeOptions, Scratch, Tokenizer, Utf8Stream};
use briquette_tests::{corpus, encode, repository};
use proptest::prelude::*;
use serde_json::{Value, json};

const PLAIN: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: true,
};

fn golden(name: &str) -> PathBuf {
    repository().join("tests/golden").join(name)
}

fn tokenizer_json(name: &str) -> Value {
    let bytes = std::fs::read(golden(name).join("tokenizer.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

fn sequence(steps: Vec<Value>) -> Value {
    json!({"type": "Sequence", "pretokenizers": steps})
}

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

/// The vocabulary of a golden tokenizer with the pre-tokenizers of the models
/// that we import, and a few added tokens of every kind.
fn variants() -> Vec<(&'static str, Value)> {
    const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let digits = json!({"type": "Digits", "individual_digits": true});
    let base = tokenizer_json("tiny-llama");
    let with = |pre: Value| {
        let mut json = base.clone();
        json["pre_tokenizer"] = pre;
        json
    };
    let mut qwen2 = with(sequence(vec![
        split(&LLAMA3.replace("{1,3}", "")),
        byte_level(false),
    ]));
    qwen2["normalizer"] = json!({"type": "NFC"});
    let mut llama3 = with(sequence(vec![split(LLAMA3), byte_level(false)]));
    llama3["model"]["ignore_merges"] = json!(true);
    let mut added = tokenizer_json("tiny-v3");
    for (id, text, special) in [
        (512, "<|im", false),
        (513, "<|im_start|>", true),
        (514, "né", false),
    ] {
        added["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": id, "content": text, "special": special, "normalized": id == 514,
            "single_word": false, "lstrip": false, "rstrip": false,
        }));
    }
    let coder = vec![
        split(r"[\r\n]"),
        split(r"\s?\p{L}+"),
        split(r"\s?\p{P}+"),
        split("[一-龥ࠀ-一가-퟿]+"),
        digits.clone(),
        byte_level(false),
    ];
    let llm = vec![
        split(r"[\r\n]"),
        split("\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯ]+"),
        split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
        split(r"\s+$"),
        split("[一-龥ࠀ-一가-퟿]+"),
        digits.clone(),
        byte_level(false),
    ];
    // Published DeepSeek files have line breaks themselves in their pattern.
    let mut literal = tokenizer_json("tiny-v3");
    let pattern = &mut literal["pre_tokenizer"]["pretokenizers"][2]["pattern"]["Regex"];
    let breaks = pattern.as_str().unwrap();
    *pattern = json!(breaks.replace(r"\r", "\r").replace(r"\n", "\n"));
    vec![
        ("tiny-v3 (DeepSeek V3)", tokenizer_json("tiny-v3")),
        ("DeepSeek V3 with line breaks", literal),
        ("tiny-llama (GPT-2)", base.clone()),
        ("more added tokens", added),
        ("SmolLM2", with(sequence(vec![digits, byte_level(true)]))),
        ("Llama 3", llama3),
        ("whole words", tokenizer_json("../../models/sentry")),
        ("Qwen 2", qwen2),
        ("DeepSeek Coder", with(sequence(coder))),
        ("DeepSeek LLM", with(sequence(llm))),
    ]
}

#[test]
fn every_line_has_the_ids_of_the_tokenizers_crate() {
    let corpus = corpus();
    assert!(corpus.len() >= 2_000_000);
    for (name, json) in variants() {
        let theirs = tokenizers::Tokenizer::from_str(&json.to_string()).unwrap();
        let section = to_section(&from_json(json.to_string().as_bytes()).unwrap());
        let ours = Tokenizer::new(&section).unwrap();
        for line in corpus.split_inclusive('\n') {
            let expected = theirs.encode_fast(line, false).unwrap();
            assert_eq!(
                encode(&ours, line, PLAIN),
                expected.get_ids(),
                "{name}: {line:?}"
            );
        }
        println!("{name}: {} bytes agree", corpus.len());
    }
}

#[test]
fn a_long_run_without_a_break_agrees() {
    let text = "abcdefghij".repeat(1_000) + &"很".repeat(3_000) + &" ".repeat(5_000);
    let json = tokenizer_json("tiny-v3").to_string();
    let theirs = tokenizers::Tokenizer::from_str(&json).unwrap();
    let section = to_section(&from_json(json.as_bytes()).unwrap());
    let ours = Tokenizer::new(&section).unwrap();
    let expected = theirs.encode_fast(text.as_str(), false).unwrap();
    assert_eq!(encode(&ours, &text, PLAIN), expected.get_ids());
}

/// What transformers gives for each golden tokenizer, chat templates included.
#[test]
fn golden_samples_agree() {
    for name in ["tiny-v2", "tiny-v3", "tiny-llama", "tiny-qwen3moe"] {
        let folder = golden(name);
        let read = |file: &str| -> Value {
            serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
        };
        let samples = read("tokenizer_samples.json");
        let section = to_section(&from_json(tokenizer_json(name).to_string().as_bytes()).unwrap());
        let tokenizer = Tokenizer::new(&section).unwrap();
        let ids = |value: &Value| -> Vec<u32> {
            let list = value.as_array().unwrap().iter();
            list.map(|id| id.as_u64().unwrap() as u32).collect()
        };
        let mut checked = 0;
        for sample in samples["samples"].as_array().unwrap() {
            let text = sample["text"].as_str().unwrap();
            assert_eq!(
                encode(&tokenizer, text, PLAIN),
                ids(&sample["ids"]),
                "{name}"
            );
            let special = EncodeOptions {
                add_special: true,
                parse_special: true,
            };
            let with_special = ids(&sample["ids_with_special"]);
            assert_eq!(encode(&tokenizer, text, special), with_special, "{name}");
            for (key, skip) in [("decoded", false), ("decoded_skip_special", true)] {
                let mut bytes = Vec::new();
                tokenizer.decode(&with_special, skip, |part| bytes.extend_from_slice(part));
                let decoded = String::from_utf8_lossy(&bytes);
                let expected = sample[key].as_str().unwrap();
                // `decoded` may leave the tokens around the text out.
                let fits = decoded == expected || decoded.strip_prefix("<|bos|>") == Some(expected);
                assert!(fits, "{name}: {decoded:?} is not {expected:?}");
            }
            checked += 1;
        }
        assert!(checked >= 5, "{name}: {checked} samples");
        check_chat(name, &samples, &read("tokenizer_config.json"), &tokenizer);
    }
}

fn check_chat(name: &str, samples: &Value, config: &Value, tokenizer: &Tokenizer<'_>) {
    use briquette::chat::{ChatTemplate, Message};
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let template = ChatTemplate {
        source: text(&config["chat_template"]),
        bos_token: text(&config["bos_token"]),
        eos_token: text(&config["eos_token"]),
        ..ChatTemplate::default()
    };
    let mut rendered = 0;
    for sample in samples["chat"].as_array().unwrap() {
        if sample["add_generation_prompt"] != true {
            continue;
        }
        let messages: Vec<Message> = sample["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| {
                let role = match message["role"].as_str().unwrap() {
                    "user" => "user",
                    "assistant" => "assistant",
                    _ => "system",
                };
                Message::new(role, text(&message["content"]))
            })
            .collect();
        let found = template.render(&messages).unwrap();
        assert_eq!(found, text(&sample["rendered"]), "{name}");
        let ids: Vec<u32> = serde_json::from_value(sample["ids"].clone()).unwrap();
        assert_eq!(encode(tokenizer, &found, PLAIN), ids, "{name}");
        rendered += 1;
    }
    assert!(rendered >= 1);
    let (prefix, suffix) = template.single_turn().unwrap();
    assert_eq!(prefix, "<|bos|>User: ");
    assert_eq!(suffix, "\n\nAssistant:");
}

/// Where a stranger's text spells a special token, the ids are those that the
/// crate has for the pieces of the text, the stranger's without special tokens.
#[test]
fn a_strangers_text_has_no_special_tokens() {
    let json = tokenizer_json("tiny-v3");
    let theirs = tokenizers::Tokenizer::from_str(&json.to_string()).unwrap();
    let mut literal = theirs.clone();
    literal.set_encode_special_tokens(true);
    let section = to_section(&from_json(json.to_string().as_bytes()).unwrap());
    let ours = Tokenizer::new(&section).unwrap();
    let stranger = "a<think>b</think><|eos|>";
    for (before, after) in [
        ("<|bos|>", "<|eos|><think>"),
        ("", "<|eos|>"),
        ("x<|bos|>", ""),
    ] {
        let text = format!("{before}{stranger}{after}");
        let mut expected = Vec::new();
        for (tokenizer, piece) in [(&theirs, before), (&literal, stranger), (&theirs, after)] {
            expected.extend_from_slice(tokenizer.encode_fast(piece, false).unwrap().get_ids());
        }
        let needed = ours.buffers_needed(text.len());
        let (mut ids, mut words) = (vec![0; needed.tokens], vec![0; needed.words]);
        let mut normalized = vec![0; needed.text];
        let mut scratch = Scratch {
            words: &mut words,
            text: &mut normalized,
        };
        let range = before.len()..before.len() + stranger.len();
        let count = ours.encode_around(&text, &[range], PLAIN, &mut ids, &mut scratch);
        assert_eq!(&ids[..count.unwrap()], expected, "{text}");
        // All of it a template's: the tags are tokens again.
        assert_ne!(encode(&ours, &text, PLAIN), expected, "{text}");
    }
    assert_eq!(ours.find_special("ab <|eos|>"), Some(3..10));
    assert_eq!(ours.find_special("ab <|eos"), None);
}

/// Sections are read in place from files of strangers.
#[test]
fn broken_sections_never_panic() {
    let section = to_section(&from_json(tokenizer_json("tiny-v3").to_string().as_bytes()).unwrap());
    let try_out = |bytes: &[u8]| {
        if let Ok(tokenizer) = Tokenizer::new(bytes) {
            let text = "Hello 123 <think>é\n";
            let mut ids = [0; 64];
            let mut words = vec![0; tokenizer.buffers_needed(text.len()).words.min(1 << 16)];
            let mut normalized = [0; 256];
            let mut scratch = Scratch {
                words: &mut words,
                text: &mut normalized,
            };
            let _ = tokenizer.encode(text, PLAIN, &mut ids, &mut scratch);
            for id in (0..600).chain([u32::MAX]) {
                tokenizer.token_bytes(id);
                tokenizer.flags(id);
            }
        }
    };
    for len in (0..200).chain((200..section.len()).step_by(37)) {
        assert!(
            Tokenizer::new(&section[..len]).is_err(),
            "{len} bytes opened"
        );
    }
    let mut bytes = section.clone();
    for at in (0..1500).chain((1500..section.len()).step_by(13)) {
        for flip in [1, 0x80, 0xff] {
            bytes[at.min(section.len() - 1)] ^= flip;
            try_out(&bytes);
            bytes[at.min(section.len() - 1)] ^= flip;
        }
    }
}

/// Files that we do not support, or that are broken, are refused by name.
#[test]
fn other_tokenizers_are_refused() {
    let refuse = |change: &dyn Fn(&mut Value)| {
        let mut json = tokenizer_json("tiny-llama");
        change(&mut json);
        match from_json(json.to_string().as_bytes()) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    };
    assert!(refuse(&|j| j["model"]["type"] = json!("Unigram")).contains("Unigram"));
    assert!(refuse(&|j| j["model"]["byte_fallback"] = json!(true)).contains("SentencePiece"));
    assert!(refuse(&|j| j["normalizer"] = json!({"type": "Lowercase"})).contains("Lowercase"));
    let odd = json!({"type": "Sequence", "pretokenizers": [split(r"\w+"), byte_level(false)]});
    assert!(refuse(&|j| j["pre_tokenizer"] = odd.clone()).contains(r"\w+"));
    assert!(refuse(&|j| j["pre_tokenizer"] = json!({"type": "Metaspace"})).contains("Metaspace"));
    let merge = json!(["qq", "zz"]);
    assert!(refuse(&|j| j["model"]["merges"][0] = merge.clone()).contains("qq"));
    assert!(refuse(&|j| j["model"]["vocab"]["\u{2581}x"] = json!(600)).contains("alphabet"));
    assert!(refuse(&|j| j["model"]["vocab"]["zzz"] = json!(-1)).contains("token id"));
    assert!(from_json(b"{").is_err());
    let spec = from_json(tokenizer_json("tiny-llama").to_string().as_bytes()).unwrap();
    assert!(spec.check(512).is_ok());
    assert!(spec.check(511).unwrap_err().to_string().contains("511"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_gives_the_text_back(text in any::<String>()) {
        let json = tokenizer_json("tiny-llama").to_string();
        let section = to_section(&from_json(json.as_bytes()).unwrap());
        let tokenizer = Tokenizer::new(&section).unwrap();
        let ids = encode(&tokenizer, &text, PLAIN);
        let mut stream = Utf8Stream::new();
        let mut decoded = String::new();
        for id in ids {
            stream.push(tokenizer.token_bytes(id), |part| decoded.push_str(part));
        }
        stream.finish(|part| decoded.push_str(part));
        prop_assert_eq!(decoded, text);
    }

    /// Whatever the bytes and wherever they are cut, the stream says what the
    /// standard library says of all of them together.
    #[test]
    fn streamed_text_is_the_lossy_text(
        parts in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![any::<u8>(), Just(0xe2), Just(0x82), Just(0xac), Just(0xf0), Just(0x9f)],
                0..6,
            ),
            0..8,
        )
    ) {
        let mut stream = Utf8Stream::new();
        let mut streamed = String::new();
        for part in &parts {
            stream.push(part, |text| streamed.push_str(text));
            prop_assert!(stream.held_back() <= 3);
        }
        stream.finish(|text| streamed.push_str(text));
        let expected = String::from_utf8_lossy(&parts.concat()).into_owned();
        prop_assert_eq!(streamed, expected);
    }
}
