//! The constants against their sources' bytes, and what they split against
//! the `tokenizers` crate.

use std::fmt::Write as _;
use std::str::FromStr;

use briquette_engine::text::{EncodeOptions, Scratch, Tokenizer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::checkpoint::gguf::{GgufTokenizer, tokenizer_spec};
use crate::checkpoint::tokenizer::{alphabet, to_section};

/// SHA-256 of the patterns as their sources have them: GPT-2's in the crate
/// `tokenizers` (`pre_tokenizers/byte_level.rs`), all others in llama.cpp's
/// src/llama-vocab.cpp, there as "original regex from tokenizer.json" where
/// llama.cpp spells them another way. Line breaks count as their escapes.
#[test]
fn patterns_are_the_bytes_of_their_sources() {
    for (pattern, digest) in [
        (
            GPT2,
            "eeb55ba74cc544ae7067587b680d16521d9891de9e94c7ba9412c0e0e93b1c36",
        ),
        (
            LLAMA3,
            "d98f9631be1e9607a9848c26c1f9eac1aa9fc21ac6ba82a2fc0741af9780a48f",
        ),
        (
            QWEN2,
            "1ff7f41064896984db5d1bb6ff64fa4bc29007d08c1b439e505b7392777a319e",
        ),
        (
            DEEPSEEK_V3,
            "8e741adfc8918c5babebf1562beb905842fc22fb431e02eec0265a9203d0516d",
        ),
        (
            GPT4O,
            "2d1b8dc11e89af71459b36004f698ab3693f59fd84f63e8ec2b49564ab857420",
        ),
        (
            TEKKEN,
            "1d64a9a8eaf9f1bd80331984d81fdd514e7feafe8df83a525dd31472f275699a",
        ),
        (
            DEEPSEEK_LETTERS,
            "38fd0b5eb7e66ecf05e5e89dd0272208b64a6d60fa009c4ea1be70e7b7e739d5",
        ),
        (
            DEEPSEEK_PUNCTUATION,
            "ae6bc1cffa8363b9fcbc8425375b51beb4782b93c6bcc35129ad95e41974f239",
        ),
        (
            DEEPSEEK_CJK,
            "a9e31f463e1bd653c3d89fb26abc9a610b23eb0447b1bfcac71c7949e72583e4",
        ),
        (
            DEEPSEEK_V3_CJK,
            "b17444129c80d563051e7b293e0a93351a65cd7722d7008bcdeecadbf02d12b3",
        ),
    ] {
        let mut found = String::new();
        for byte in Sha256::digest(pattern) {
            write!(found, "{byte:02x}").unwrap();
        }
        assert_eq!(found, digest, "{pattern}");
    }
}

/// A pattern of our own that our own parser refuses would refuse every file
/// that names it, with a message that lists it as supported.
#[test]
fn every_gguf_pre_tokenizer_is_read_and_listed() {
    let names: Vec<&str> = GGUF.iter().flat_map(|known| known.names).copied().collect();
    assert_eq!(GGUF_SUPPORTED, names.join(", "));
    for name in names {
        let steps = GgufPreTokenizer::find(name).unwrap().steps();
        assert!(steps.is_ok(), "{name}: {steps:?}");
    }
    let error = GgufPreTokenizer::find("nope").unwrap_err().to_string();
    assert!(error.contains("`nope`"), "{error}");
}

/// All bytes and all pairs of bytes: wherever a text is split, a pair is not
/// joined, and the ids say so.
fn pairs(pre: &str) -> GgufTokenizer {
    let byte = |value: usize| alphabet::character(value as u8);
    let pair = |index: usize| (byte(index / 256), byte(index % 256));
    let bytes = (0..256).map(|value| byte(value).to_string());
    let joined = (0..1 << 16).map(pair).map(|(a, b)| format!("{a}{b}"));
    let tokens: Vec<String> = bytes.chain(joined).collect();
    let merges = (0..1 << 16).map(pair).map(|(a, b)| format!("{a} {b}"));
    GgufTokenizer {
        model: "gpt2".into(),
        pre: Some(pre.into()),
        token_types: vec![1; tokens.len()],
        tokens,
        merges: merges.collect(),
        ..GgufTokenizer::default()
    }
}

/// The same for the crate, with the patterns as regular expressions.
fn pairs_for_the_crate(source: &GgufTokenizer) -> Value {
    let known = GgufPreTokenizer::find(source.pre.as_deref().unwrap()).unwrap();
    let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let mut steps: Vec<Value> = known.patterns.iter().map(split).collect();
    steps.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}));
    let ids = source.tokens.iter().zip(0..);
    let normalizer = known.normalizes_nfc.then(|| json!({"type": "NFC"}));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "byte_fallback": false, "ignore_merges": known.ignores_merges,
            "vocab": ids.collect::<std::collections::HashMap<&String, u32>>(),
            "merges": source.merges},
    })
}

/// Characters of every range of the patterns, each in a place where splitting
/// shows, and lines that are hard for other reasons. What Unicode assigned of
/// late is left out: the crate's version is older than ours.
fn texts() -> impl Iterator<Item = String> {
    let ranges = [
        '\u{80}'..='\u{52f}',
        '\u{7f0}'..='\u{810}',
        '\u{e01}'..='\u{e3a}',
        '\u{10a0}'..='\u{10c5}',
        '\u{13a0}'..='\u{13f5}',
        '\u{1d00}'..='\u{205e}',
        '\u{2074}'..='\u{208e}',
        '\u{2100}'..='\u{214f}',
        '\u{2c00}'..='\u{2cf3}',
        '\u{3000}'..='\u{30ff}',
        '\u{4dff}'..='\u{4e10}',
        '\u{9fa0}'..='\u{9fa6}',
        '\u{ac00}'..='\u{ac10}',
        '\u{d7a0}'..='\u{d7a3}',
        '\u{ff01}'..='\u{ff5e}',
        '\u{10400}'..='\u{10450}',
        '\u{1f600}'..='\u{1f610}',
    ];
    let characters = ranges.into_iter().flatten();
    let lines = [
        "I'll don'T 'S we\u{2019}ve it'\u{17f} 12345 67,890.5  \n\n  x\t\r\ny",
        "  two  spaces   and a tail   ",
        "CamelCase HTTPServer/path //a\n/b \u{1c5}\u{2b0}x ABCdef",
        "$1,000 (50%)! --x ... ?!\u{2026}\u{3002}",
    ];
    characters
        .map(|c| format!("ab{c}{c}cd 1{c}2 {c}\n{c}. {c}"))
        .chain(lines.map(str::to_owned))
}

#[test]
fn every_gguf_pre_tokenizer_splits_as_the_tokenizers_crate() {
    for known in &GGUF {
        let source = pairs(known.names[0]);
        let section = to_section(&tokenizer_spec(&source).unwrap());
        let ours = Tokenizer::new(&section).unwrap();
        let json = pairs_for_the_crate(&source).to_string();
        let theirs = tokenizers::Tokenizer::from_str(&json).unwrap();
        for text in texts() {
            let expected = theirs.encode_fast(text.as_str(), false).unwrap();
            assert_eq!(
                encode(&ours, &text),
                expected.get_ids(),
                "{}: {text:?}",
                source.pre.as_deref().unwrap_or_default()
            );
        }
    }
}

fn encode(tokenizer: &Tokenizer<'_>, text: &str) -> Vec<u32> {
    let needed = tokenizer.buffers_needed(text.len());
    let (mut ids, mut words) = (vec![0; needed.tokens], vec![0; needed.words]);
    let mut scratch = Scratch {
        words: &mut words,
        text: &mut vec![0; needed.text],
    };
    let options = EncodeOptions {
        add_special: false,
        parse_special: true,
    };
    let count = tokenizer
        .encode(text, options, &mut ids, &mut scratch)
        .unwrap();
    ids.truncate(count);
    ids
}
