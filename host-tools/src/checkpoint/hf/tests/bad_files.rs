//! Broken files: always an error, never a panic.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{Stored, folder, golden_config, refusal, safetensors};
use crate::checkpoint::hf::header::Shard;
use crate::checkpoint::hf::open;
use crate::checkpoint::hf::store::SafetensorsStore;
use crate::checkpoint::{ImportError, Rows, TensorStore};

fn small_file() -> Vec<u8> {
    safetensors(&[
        Stored::counting("a.weight", &[2, 3], 0.0),
        Stored::counting("b.bias", &[4], 10.0),
    ])
}

/// Opens the bytes as a file and reads whatever is in it.
fn try_read(folder: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    let path = folder.join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    let mut store = SafetensorsStore::open(folder, None)?;
    let (_, entries) = Shard::open(&path)?;
    for name in entries.keys() {
        let shape = store.find(name).unwrap().shape;
        let rows = shape.iter().rev().skip(1).product::<u64>();
        store.read_rows(name, 0..rows, &mut Rows::default())?;
        let beyond = store.read_rows(name, rows..rows + 1, &mut Rows::default());
        assert!(
            matches!(beyond, Err(ImportError::NoSuchRows { .. })),
            "{name}"
        );
    }
    Ok(())
}

fn with_header(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(vec![0; data_bytes]);
    file
}

#[test]
fn a_sound_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    try_read(folder.path(), &small_file()).unwrap();
    let mut store = SafetensorsStore::open(folder.path(), None).unwrap();
    let mut rows = Rows::default();
    store.read_rows("a.weight", 1..2, &mut rows).unwrap();
    assert_eq!(
        (rows.cols, rows.values.as_slice()),
        (3, &[3.0, 4.0, 5.0][..])
    );
    store.read_rows("b.bias", 0..1, &mut rows).unwrap();
    assert_eq!(
        (rows.cols, rows.values.as_slice()),
        (4, &[10.0, 11.0, 12.0, 13.0][..])
    );
}

#[test]
fn every_truncation_and_a_tail_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = small_file();
    for len in 0..file.len() {
        assert!(
            try_read(folder.path(), &file[..len]).is_err(),
            "cut at {len}"
        );
    }
    let mut longer = file;
    longer.push(0);
    assert!(try_read(folder.path(), &longer).is_err());
}

#[test]
fn no_changed_byte_of_the_header_makes_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = small_file();
    let header_end = 8 + usize::from(file[0]);
    let mut refused = 0;
    for at in 0..header_end {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut changed = file.clone();
            changed[at] ^= flip;
            refused += usize::from(try_read(folder.path(), &changed).is_err());
        }
    }
    // Only changes inside of names may go unnoticed.
    assert!(refused > header_end * 2, "{refused} of {}", header_end * 4);
}

#[test]
fn random_headers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let alphabet = br#"{}[]",:0123456789 dtypeshaF32offs_"#;
    for _ in 0..500 {
        let len = (random() % 200) as usize;
        let mut file = (random() % 220).to_le_bytes().to_vec();
        file.extend((0..len).map(|_| alphabet[random() as usize % alphabet.len()]));
        assert!(try_read(folder.path(), &file).is_err());
    }
}

#[test]
fn inconsistent_headers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#""x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let one = |dtype, shape, offsets| format!("{{{}}}", tensor(dtype, shape, offsets));
    let huge = u64::MAX;
    let cases = [
        ("fewer bytes than the shape", one("F32", "[3]", "[0,8]")),
        ("unknown type", one("F31", "[2]", "[0,8]")),
        ("hole before", one("F32", "[1]", "[4,8]")),
        ("past the end", one("F32", "[4]", "[0,16]")),
        ("backwards", one("F32", "[2]", "[8,0]")),
        ("negative", one("F32", "[-2]", "[0,8]")),
        (
            "product overflows",
            one("F32", &format!("[{huge},{huge}]"), "[0,8]"),
        ),
        (
            "bytes overflow",
            one("F32", "[4611686018427387906]", "[0,8]"),
        ),
        (
            "offset overflows",
            one("F32", "[2]", &format!("[0,{huge}0]")),
        ),
        (
            "no offsets",
            r#"{"x":{"dtype":"F32","shape":[2]}}"#.to_owned(),
        ),
        ("overlap", {
            let second = tensor("F32", "[1]", "[0,4]").replace('x', "y");
            format!("{{{},{second}}}", tensor("F32", "[2]", "[0,8]"))
        }),
        ("same name twice", {
            let twice = tensor("F32", "[2]", "[0,8]");
            format!("{{{twice},{twice}}}")
        }),
        ("no object", "[]".to_owned()),
        ("nothing", String::new()),
    ];
    for (what, header) in cases {
        let error = try_read(folder.path(), &with_header(&header, 8)).expect_err(what);
        assert!(
            error.to_string().contains("model.safetensors"),
            "{what}: {error}"
        );
    }
}

#[test]
fn a_huge_header_length_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for length in [9, 1 << 32, 1 << 63, u64::MAX] {
        let mut file = length.to_le_bytes().to_vec();
        file.extend(b"{}      ");
        let error = try_read(folder.path(), &file).unwrap_err();
        assert!(error.to_string().contains(&length.to_string()), "{error}");
    }
}

#[test]
fn empty_tensors_of_any_shape_are_harmless() {
    let folder = tempfile::tempdir().unwrap();
    for shape in ["[0]", "[0,9223372036854775807]", "[4,0]", "[0,0,0]"] {
        let header = format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}}}"#);
        try_read(folder.path(), &with_header(&header, 0)).unwrap();
    }
}

#[test]
fn types_that_are_not_weights_are_named() {
    let integers = Stored {
        dtype: "I64",
        ..Stored::counting("x", &[4], 0.0)
    };
    let integers = Stored {
        shape: vec![2],
        ..integers
    };
    let folder = tempfile::tempdir().unwrap();
    let error = try_read(folder.path(), &safetensors(&[integers])).unwrap_err();
    assert!(error.to_string().contains("`I64 of tensor `x``"), "{error}");
}

#[test]
fn folders_that_are_none_say_what_to_do() {
    let message = |path: &Path| open(path).err().unwrap().to_string();
    let empty = tempfile::tempdir().unwrap();
    assert!(message(empty.path()).contains("no config.json"));
    assert!(message(&empty.path().join("absent")).contains("no such folder"));

    let config = golden_config("tiny-llama");
    fs::write(empty.path().join("config.json"), config.to_string()).unwrap();
    assert!(message(&empty.path().join("config.json")).contains("give the folder"));
    assert!(message(empty.path()).contains("is the download complete"));
    fs::write(empty.path().join("pytorch_model.bin"), "").unwrap();
    assert!(message(empty.path()).contains("save_pretrained"));
    fs::write(empty.path().join("config.json"), "{").unwrap();
    assert!(message(empty.path()).contains("config.json: is not sound JSON"));
    fs::write(empty.path().join("config.json"), "[1]").unwrap();
    assert!(message(empty.path()).contains("not a JSON object"));
}

#[test]
fn shapes_that_do_not_fit_are_named_with_both() {
    let config = golden_config("tiny-llama");
    let folder = folder(
        &config,
        &[Stored::counting(
            "model.embed_tokens.weight",
            &[512, 63],
            0.0,
        )],
    );
    let error = refusal(folder.path());
    let expected = "tensor `model.embed_tokens.weight` has shape [512, 63], \
                    the configuration asks for [512, 64]";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn templates_are_found_where_folders_have_them() {
    let config = golden_config("tiny-llama");
    let folder = folder(&config, &[]);
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let template = || {
        open(folder.path())
            .unwrap()
            .chat_template()
            .map(str::to_owned)
    };
    assert_eq!(template(), None);
    let named = json!({"chat_template": [
        {"name": "tool_use", "template": "T"},
        {"name": "default", "template": "D"},
    ]});
    write("tokenizer_config.json", &named.to_string());
    assert_eq!(template().as_deref(), Some("D"));
    write("chat_template.jinja", "J");
    assert_eq!(template().as_deref(), Some("J"));

    write(
        "generation_config.json",
        r#"{"eos_token_id": [7, 1], "bos_token_id": 5}"#,
    );
    let checkpoint = open(folder.path()).unwrap();
    assert_eq!(checkpoint.eos_token_ids(), [7, 1]);
    assert_eq!(checkpoint.tokenizer_json().unwrap(), None);
}
