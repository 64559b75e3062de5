//! Ids of special tokens.

use super::{Builder, key, open, string};
use crate::checkpoint::ImportError;
use crate::checkpoint::gguf::GgufTokenizer;

const KEYS: [&str; 7] = ["bos", "eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"];

fn strings(texts: &[&str]) -> Vec<u8> {
    let mut bytes = 8_u32.to_le_bytes().to_vec();
    bytes.extend((texts.len() as u64).to_le_bytes());
    bytes.extend(texts.iter().flat_map(|text| string(text)));
    bytes
}

/// A tokenizer of three tokens with one more key.
fn tokenizer(more: Vec<u8>) -> Result<GgufTokenizer, ImportError> {
    let mut builder = Builder::sound();
    builder.keys.extend([
        key("tokenizer.ggml.model", 8, &string("gpt2")),
        key("tokenizer.ggml.tokens", 9, &strings(&["a", "b", "c"])),
        more,
    ]);
    Ok(open(&builder.bytes())?.tokenizer()?.unwrap())
}

fn id(name: &str, value_type: u32, value: &[u8]) -> Vec<u8> {
    key(
        &format!("tokenizer.ggml.{name}_token_id"),
        value_type,
        value,
    )
}

#[test]
fn every_key_is_read() {
    for name in KEYS {
        let read = tokenizer(id(name, 4, &2_u32.to_le_bytes())).unwrap();
        let ids = [
            read.bos,
            read.eos,
            read.eot,
            read.eom,
            read.fim_pad,
            read.fim_rep,
            read.fim_sep,
        ];
        let place = KEYS.iter().position(|key| *key == name).unwrap();
        for (at, id) in ids.into_iter().enumerate() {
            assert_eq!(id, (at == place).then_some(2), "{name}");
        }
    }
}

/// llama.cpp stores "none" as -1, which its type makes 2^32 - 1.
#[test]
fn minus_one_is_none() {
    for value in [
        id("eos", 4, &u32::MAX.to_le_bytes()),
        id("eos", 5, &(-1_i32).to_le_bytes()),
    ] {
        assert_eq!(tokenizer(value).unwrap().eos, None);
    }
}

#[test]
fn ids_without_a_token_are_refused() {
    let mut list = 4_u32.to_le_bytes().to_vec();
    list.extend(1_u64.to_le_bytes());
    list.extend(1_u32.to_le_bytes());
    for name in KEYS {
        for (value_type, value, shown) in [
            (4, 3_u32.to_le_bytes().to_vec(), "3"),
            (4, 4_294_967_294_u32.to_le_bytes().to_vec(), "4294967294"),
            (10, (1_u64 << 40).to_le_bytes().to_vec(), "1099511627776"),
            (5, (-2_i32).to_le_bytes().to_vec(), "-2"),
            (6, 1.5_f32.to_le_bytes().to_vec(), "1.5"),
            (8, string("c"), "\"c\""),
            (9, list.clone(), "a list of 1 values"),
        ] {
            let error = tokenizer(id(name, value_type, &value)).unwrap_err();
            let expected = format!("`tokenizer.ggml.{name}_token_id` is {shown}, expected the id");
            let error = error.to_string();
            assert!(error.contains(&expected), "{error}");
            assert!(error.contains("one of the 3 tokens"), "{error}");
        }
    }
}

/// Nothing here uses them.
#[test]
fn ids_of_other_special_tokens_do_not_matter() {
    for name in ["padding", "unknown", "seperator", "mask", "cls"] {
        assert!(
            tokenizer(id(name, 4, &99_u32.to_le_bytes())).is_ok(),
            "{name}"
        );
    }
}
