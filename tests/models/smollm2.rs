//! A real model: SmolLM2-135M-Instruct, compared with llama.cpp.
//!
//! The oracle's figures are in tests/golden/smollm2.json, made by
//! tests/golden/smollm2_oracle.py with llama-cpp-python on the same GGUF file.

use std::str::FromStr;
use std::sync::LazyLock;

use briquette::chat::{ChatTemplate, Message, TextModel};
use briquette::checkpoint::gguf::Gguf;
use briquette::pack::WeightFormat;
use briquette_engine::Isa;
use briquette_engine::cpu::{Serial, Threads};
use briquette_engine::quant::KvFormat;
use briquette_engine::text::EncodeOptions;
use briquette_tests::{Packed, Run, corpus, encode, repository, smollm2};
use serde_json::{Value, json};

const PLAIN: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: false,
};

static PACKED: LazyLock<Packed> =
    LazyLock::new(|| Packed::new(&smollm2(), WeightFormat::Q4, KvFormat::Q8));

static ORACLE: LazyLock<Value> = LazyLock::new(|| {
    let path = repository().join("tests/golden/smollm2.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
});

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn the_packed_file_is_no_larger_than_the_smollm2() {
    let packed = PACKED.path().metadata().unwrap().len();
    let original = smollm2().metadata().unwrap().len();
    println!("packed {packed} bytes, GGUF {original} bytes");
    assert!(packed <= original);
}

#[test]
fn text_has_llama_cpps_ids() {
    let blob = PACKED.file.blob().unwrap();
    let text = TextModel::new(&blob).unwrap();
    for sample in ORACLE["strings"].as_array().unwrap() {
        let string = sample["text"].as_str().unwrap();
        assert_eq!(
            text.encode(string, PLAIN).unwrap(),
            ids(&sample["ids"]),
            "{string:?}"
        );
    }
    let novel = repository().join("tests/golden/text/persuasion.txt");
    let novel = std::fs::read_to_string(novel).unwrap();
    assert_eq!(
        text.encode(&novel, PLAIN).unwrap(),
        ids(&ORACLE["text_ids"])
    );
}

#[test]
fn conversations_have_llama_cpps_ids() {
    let blob = PACKED.file.blob().unwrap();
    let text = TextModel::new(&blob).unwrap();
    let mut checked = 0;
    for prompt in ORACLE["prompts"].as_array().unwrap() {
        if prompt["chat"] == true {
            let content = prompt["text"].as_str().unwrap().to_owned();
            let found = text.chat_prompt(&[Message::new("user", content)]).unwrap();
            assert_eq!(found.ids, ids(&prompt["prompt_ids"]));
            checked += 1;
        }
    }
    assert!(checked > 0);
    let single = blob.manifest().chat.single_turn.unwrap();
    let template = ChatTemplate {
        source: ORACLE["chat_template"].as_str().unwrap().to_owned(),
        ..ChatTemplate::default()
    };
    let rendered = template
        .render(&[Message::new("user", "Hi there")])
        .unwrap();
    assert_eq!(
        rendered,
        format!("{}Hi there{}", single.prefix, single.suffix)
    );
}

/// The `tokenizers` crate on the same vocabulary, on two megabytes of text.
#[test]
fn the_tokenizers_crate_agrees() {
    let metadata = Gguf::open(&smollm2())
        .unwrap()
        .tokenizer()
        .unwrap()
        .unwrap();
    let vocabulary: serde_json::Map<String, Value> = (0..)
        .zip(&metadata.tokens)
        .map(|(id, token): (u32, _)| (token.clone(), id.into()))
        .collect();
    let typed = (0_u32..).zip(metadata.tokens.iter().zip(&metadata.token_types));
    let added: Vec<Value> = typed
        .filter(|(_, (_, kind))| **kind == 3)
        .map(|(id, (token, _))| {
            json!({"id": id, "content": token, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false})
        })
        .collect();
    let json = json!({
        "version": "1.0", "added_tokens": added, "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": metadata.merges},
    });
    let theirs = tokenizers::Tokenizer::from_str(&json.to_string()).unwrap();
    let blob = PACKED.file.blob().unwrap();
    let text = TextModel::new(&blob).unwrap();
    let options = EncodeOptions {
        add_special: false,
        parse_special: true,
    };
    for line in corpus().split_inclusive('\n') {
        let expected = theirs.encode_fast(line, false).unwrap();
        assert_eq!(
            encode(text.tokenizer(), line, options),
            expected.get_ids(),
            "{line:?}"
        );
    }
}

#[test]
fn perplexity_is_llama_cpps() {
    const WINDOW: usize = 512;
    let tokens = ids(&ORACLE["text_ids"]);
    let run = Run {
        team: Threads::new(2).unwrap(),
        isa: Isa::detect(),
        batch: 64,
    };
    let packed = Packed::with_context(&smollm2(), WeightFormat::Q4, KvFormat::Q8, WINDOW as u32);
    let (mut sum, mut predicted) = (0.0, 0);
    packed.session(&run, |session| {
        let mut row = vec![0.0; session.blob().manifest().config.vocab_size as usize];
        for window in tokens.chunks(WINDOW) {
            session.truncate(0);
            let each = |i: usize, logits: &mut [f32]| {
                if let Some(next) = window.get(i + 1) {
                    let max = f64::from(logits.iter().fold(f32::MIN, |m, v| m.max(*v)));
                    let total: f64 = logits.iter().map(|v| (f64::from(*v) - max).exp()).sum();
                    sum += max + total.ln() - f64::from(logits[*next as usize]);
                    predicted += 1;
                }
            };
            session.score(window, &mut row, each).unwrap();
        }
    });
    let ours = (sum / f64::from(predicted)).exp();
    let oracle = &ORACLE["llama_cpp_kv_f16"];
    assert_eq!(oracle["predicted_tokens"], predicted);
    let theirs = oracle["perplexity"].as_f64().unwrap();
    println!("perplexity {ours:.4}, llama.cpp {theirs:.4}");
    assert!((ours / theirs - 1.0).abs() < 0.01);
}

/// Both round activations to eight bits, each in its own way, so a choice may
/// differ where two tokens are nearly as likely; it may not elsewhere.
#[test]
fn greedy_text_is_llama_cpps_up_to_a_near_tie() {
    const NEAR: f64 = 0.6;
    let prompts = ORACLE["prompts"].as_array().unwrap();
    let answers = ORACLE["llama_cpp_kv_f16"]["greedy"].as_array().unwrap();
    let mut compared = 0;
    for (prompt, answer) in prompts.iter().zip(answers) {
        let expected = ids(&answer["ids"]);
        let margins = numbers(&answer["margins"]);
        let found = PACKED.greedy(&Run::default(), &ids(&prompt["prompt_ids"]), expected.len());
        for ((found, expected), margin) in found.iter().zip(&expected).zip(&margins) {
            if found != expected {
                assert!(*margin < NEAR, "{}: margin {margin}", prompt["text"]);
                break;
            }
            compared += 1;
        }
    }
    println!("{compared} greedy tokens agree");
    assert!(compared >= 40);
}

#[test]
fn instruction_sets_and_threads_give_the_same_bits() {
    let tokens = &ids(&ORACLE["text_ids"])[..48];
    let run = |isa| Run {
        team: Serial,
        isa,
        batch: 32,
    };
    let bits = |logits: Vec<f32>| -> Vec<u32> { logits.into_iter().map(f32::to_bits).collect() };
    let expected = bits(PACKED.logits(&run(Isa::PORTABLE), tokens));
    for isa in Isa::available() {
        assert!(
            bits(PACKED.logits(&run(isa), tokens)) == expected,
            "{isa:?}"
        );
    }
    let team = Threads::new(2).unwrap();
    let batch = 1;
    let isa = Isa::detect();
    let logits = PACKED.logits(&Run { team, isa, batch }, tokens);
    assert!(bits(logits) == expected, "two threads");
}
