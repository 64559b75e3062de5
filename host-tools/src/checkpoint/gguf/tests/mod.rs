//! Sound files, broken files, and ggml's blocks against another implementation.

mod rope;
mod special_tokens;
mod whole;

use std::io::Write;
use std::path::Path;

use safetensors::SafeTensors;
use tempfile::NamedTempFile;

use super::Gguf;
use super::codes;
use crate::checkpoint::{Encoding, ImportError, Rows, TensorStore};

/// Builds a file piece by piece.
#[derive(Clone)]
struct Builder {
    version: u32,
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    key_count: Option<u64>,
    tensor_count: Option<u64>,
    data: usize,
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn key(name: &str, value_type: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = string(name);
    bytes.extend(value_type.to_le_bytes());
    bytes.extend(value);
    bytes
}

fn tensor(name: &str, dims: &[u64], encoding: u32, offset: u64) -> Vec<u8> {
    let mut bytes = string(name);
    bytes.extend((dims.len() as u32).to_le_bytes());
    for dim in dims {
        bytes.extend(dim.to_le_bytes());
    }
    bytes.extend(encoding.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

impl Builder {
    /// Two tensors of 32 and 64 numbers, and some metadata.
    fn sound() -> Self {
        Self {
            version: 3,
            keys: vec![
                key("general.architecture", 8, &string("llama")),
                key("llama.context_length", 4, &64_u32.to_le_bytes()),
            ],
            tensors: vec![tensor("a", &[32], 0, 0), tensor("b", &[32, 2], 8, 128)],
            key_count: None,
            tensor_count: None,
            data: 128 + 2 * 34,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        let tensors = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        bytes.extend(tensors.to_le_bytes());
        let keys = self.key_count.unwrap_or(self.keys.len() as u64);
        bytes.extend(keys.to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.resize(bytes.len() + self.data, 0);
        bytes
    }
}

fn open(bytes: &[u8]) -> Result<Gguf, ImportError> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Gguf::open(file.path())
}

/// What is wrong with the model of a sound file.
fn refused_model(builder: &Builder) -> String {
    let mut file = open(&builder.bytes()).unwrap();
    super::model(&mut file).unwrap_err().to_string()
}

fn refusal(change: impl FnOnce(&mut Builder)) -> String {
    let mut builder = Builder::sound();
    change(&mut builder);
    match open(&builder.bytes()) {
        Ok(_) => panic!("the file was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_sound_file_opens_and_reads() {
    let mut file = open(&Builder::sound().bytes()).unwrap();
    assert_eq!(file.find("b").unwrap().shape, [2, 32]);
    let mut rows = Rows::default();
    file.read_rows("b", 1..2, &mut rows).unwrap();
    assert_eq!(
        (rows.cols, rows.values.len(), rows.grids.len()),
        (32, 32, 1)
    );
    file.read_rows("a", 0..0, &mut rows).unwrap();
    assert!(file.read_rows("b", 1..3, &mut rows).is_err());
    assert!(file.read_rows("c", 0..1, &mut rows).is_err());
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let bytes = Builder::sound().bytes();
    for len in 0..bytes.len() {
        assert!(open(&bytes[..len]).is_err(), "{len} bytes opened");
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let mut bytes = Builder::sound().bytes();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            bytes[at] ^= flip;
            if let Ok(mut file) = open(&bytes) {
                let _ = super::model(&mut file);
                let _ = file.tokenizer();
                let _ = file.read_rows("b", 0..2, &mut Rows::default());
            }
            bytes[at] ^= flip;
        }
    }
}

#[test]
fn versions_and_counts_are_checked() {
    assert!(refusal(|b| b.version = 4).contains("`4`"));
    assert!(refusal(|b| b.version = 3_u32.swap_bytes()).contains("big-endian"));
    for count in [u64::MAX, 1 << 60, 1 << 40] {
        assert!(refusal(|b| b.tensor_count = Some(count)).contains("tensor count"));
        assert!(refusal(|b| b.key_count = Some(count)).contains("key count"));
    }
}

#[test]
fn strings_and_values_are_checked() {
    let mut endless = u64::MAX.to_le_bytes().to_vec();
    endless.extend(b"abc");
    assert!(refusal(|b| b.keys[0] = endless.clone()).contains("string length"));
    assert!(refusal(|b| b.keys.push(b.keys[0].clone())).contains("twice"));
    assert!(refusal(|b| b.keys.push(key("k", 77, &[]))).contains("value type 77"));
    assert!(refusal(|b| b.keys.push(key("k", 7, &[2]))).contains("boolean"));
    let mut nested = 9_u32.to_le_bytes().to_vec();
    nested.extend(1_u64.to_le_bytes());
    assert!(refusal(|b| b.keys.push(key("k", 9, &nested))).contains("array of arrays"));
    let mut long = 4_u32.to_le_bytes().to_vec();
    long.extend((u64::MAX / 2).to_le_bytes());
    assert!(refusal(|b| b.keys.push(key("k", 9, &long))).contains("array length"));
}

#[test]
fn alignments_and_splits_are_checked() {
    for alignment in [0_u32, 3, 48, 1 << 31] {
        let value = alignment.to_le_bytes();
        let error = refusal(|b| b.keys.push(key("general.alignment", 4, &value)));
        assert!(error.contains("power of two"), "{error}");
    }
    let error = refusal(|b| b.keys.push(key("split.count", 2, &2_u16.to_le_bytes())));
    assert!(error.contains("split.count = 2"), "{error}");
}

#[test]
fn extents_are_checked() {
    let cases: [(&str, Vec<u8>); 9] = [
        ("dimensions", tensor("b", &[], 0, 128)),
        ("dimensions", tensor("b", &[1, 1, 1, 1, 1], 0, 128)),
        ("impossible size", tensor("b", &[32, 0], 0, 128)),
        ("impossible size", tensor("b", &[1 << 40, 1 << 40], 0, 128)),
        ("whole blocks", tensor("b", &[33], 8, 128)),
        ("not a multiple", tensor("b", &[32], 8, 129)),
        ("past the end", tensor("b", &[32, 3], 8, 128)),
        ("past the end", tensor("b", &[32], 8, u64::MAX - 31)),
        ("overlap", tensor("b", &[8], 0, 96)),
    ];
    for (expected, entry) in cases {
        let error = refusal(|b| b.tensors[1] = entry);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(refusal(|b| b.tensors[1] = tensor("a", &[32], 8, 128)).contains("twice"));
    let error = refusal(|b| b.tensors[1] = tensor("b", &[256], 10, 128));
    assert!(error.contains("Q2_K") && error.contains("Q4_K"), "{error}");
}

#[test]
fn architectures_and_options_are_named() {
    let other = |name: &str| {
        let mut builder = Builder::sound();
        builder.keys[0] = key("general.architecture", 8, &string(name));
        refused_model(&builder)
    };
    let error = other("mamba");
    assert!(
        error.contains("mamba") && error.contains("deepseek2"),
        "{error}"
    );
    let mut builder = Builder::sound();
    let value = 30.0_f32.to_le_bytes();
    builder
        .keys
        .push(key("llama.final_logit_softcapping", 6, &value));
    let error = refused_model(&builder);
    assert!(error.contains("softcapping"), "{error}");
}

/// Expectations come from the Python package `gguf`:
/// tests/golden/make_gguf_blocks.py.
#[test]
fn blocks_widen_as_the_gguf_package_widens_them() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/gguf-blocks.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let fixture = SafeTensors::deserialize(&bytes).unwrap();
    let mut checked = 0;
    for code in 0..40 {
        let Some(encoding) = codes::from_code(code) else {
            continue;
        };
        let name = encoding.name();
        let raw = fixture.tensor(&format!("{name}.raw")).unwrap();
        let expected = fixture.tensor(&format!("{name}.values")).unwrap();
        let (mut values, mut grids) = (Vec::new(), Vec::new());
        encoding.decode(raw.data(), &mut values, &mut grids);
        let expected = expected.data().as_chunks().0.iter();
        let expected: Vec<u32> = expected.map(|b| u32::from_le_bytes(*b)).collect();
        let found: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
        assert_eq!(found, expected, "{name}");
        for (grid, group) in grids.iter().zip(values.chunks(32)) {
            let (step, start) = (grid.scale.to_f32(), grid.min.to_f32());
            // Q4_K's scale and minimum are not exact in f16: see the packer.
            if step == 0.0 || encoding == Encoding::Q4_K {
                continue;
            }
            for value in group {
                let code = ((value - start) / step).round();
                let error = (step * code + start - value).abs();
                let bearable = error <= 0.02 * step.abs();
                assert!((0.0..256.0).contains(&code) && bearable, "{name}");
            }
        }
        checked += 1;
    }
    assert_eq!(checked, 11);
}

/// Only what is needed must be UTF-8.
#[test]
fn strings_in_latin_1_are_read_where_they_are_only_shown() {
    let mut latin = 6_u64.to_le_bytes().to_vec();
    latin.extend(b"Mod\xe8le");
    let mut list = 8_u32.to_le_bytes().to_vec();
    list.extend(1_u64.to_le_bytes());
    list.extend(&latin);
    let mut builder = Builder::sound();
    let mut named = latin.clone();
    named.extend([4, 0, 0, 0, 1, 0, 0, 0]);
    builder.keys.push(named);
    for name in ["general.name", "general.license"] {
        builder.keys.push(key(name, 8, &latin));
    }
    builder
        .keys
        .push(key("tokenizer.ggml.model", 8, &string("gpt2")));
    builder.keys.push(key("tokenizer.ggml.tokens", 9, &list));
    let file = open(&builder.bytes()).unwrap();
    let shown = file.metadata().shown("general.name").unwrap();
    assert_eq!(shown.as_deref(), Some("Mod\u{fffd}le"));
    let error = file.tokenizer().unwrap_err().to_string();
    assert!(
        error.contains("tokens` is `Mod\u{fffd}le`, which is not UTF-8"),
        "{error}"
    );
}

#[test]
fn what_is_no_gguf_file_is_named() {
    for (content, expected) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\n"[..],
            "Git LFS pointer",
        ),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"{\"error\": \"gone\"}", "server's error message"),
        (b"Entry not found", "`Entry not found`"),
        (b"tjgg\x01\0\0\0", "before GGUF"),
        (b"\x01\x02\x03\x04", "does not start with `GGUF`"),
        (b"", "is empty"),
    ] {
        let error = open(content).unwrap_err().to_string();
        assert!(
            error.contains("not a GGUF file") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn files_of_something_else_than_a_model_are_named() {
    for (kind, expected) in [
        ("adapter", "LoRA"),
        ("mmproj", "images"),
        ("imatrix", "matrix"),
    ] {
        let mut builder = Builder::sound();
        builder.keys.push(key("general.type", 8, &string(kind)));
        let error = refused_model(&builder);
        assert!(
            error.contains("`general.type`") && error.contains(expected),
            "{error}"
        );
    }
}
