//! Samples of the differential tests: what other programs said, kept as files by
//! the scripts in `tests/differential`.

use std::fs;
use std::path::PathBuf;

use briquette::checkpoint::tokenizer::{from_json, to_section};
use briquette::pack::WeightFormat;
use briquette_engine::quant::KvFormat;
use briquette_engine::text::{EncodeOptions, Tokenizer};
use briquette_tests::{Packed, Run, encode, largest_difference, repository};
use safetensors::SafeTensors;
use serde_json::Value;

fn samples() -> PathBuf {
    repository().join("tests/differential")
}

/// Written by `configurations.py --write-samples`: logits of transformers 5.24.0.
#[test]
fn random_configurations_have_the_logits_of_transformers() {
    let mut checked = 0;
    for entry in fs::read_dir(samples().join("configurations")).unwrap() {
        let folder = entry.unwrap().path();
        let bytes = fs::read(folder.join("reference.safetensors")).unwrap();
        let reference = SafeTensors::deserialize(&bytes).unwrap();
        let ids = reference.tensor("ids").unwrap();
        let ids = ids.data().as_chunks().0.iter();
        let ids: Vec<u32> = ids.map(|id| u64::from_le_bytes(*id) as u32).collect();
        let logits = reference.tensor("logits").unwrap();
        let logits = logits.data().as_chunks().0.iter();
        let logits: Vec<f32> = logits.map(|logit| f32::from_le_bytes(*logit)).collect();

        let packed = Packed::with_context(&folder, WeightFormat::F32, KvFormat::F32, 64);
        let ours = packed.logits(&Run::default(), &ids);
        let difference = largest_difference(&ours, &logits);
        assert!(difference < 1e-3, "{}: {difference}", folder.display());
        checked += 1;
    }
    assert_eq!(checked, 8);
}

/// Written by `hard_text.py --write-samples`: ids of tokenizers 0.23.3.
#[test]
fn hard_lines_have_the_ids_of_tokenizers() {
    let text = fs::read_to_string(samples().join("hard_lines.json")).unwrap();
    let hard: Value = serde_json::from_str(&text).unwrap();
    let lines: Vec<String> = serde_json::from_value(hard["lines"].clone()).unwrap();
    let options = EncodeOptions {
        add_special: false,
        parse_special: true,
    };
    let of_all = hard["ids"].as_object().unwrap();
    assert!(lines.len() >= 200 && of_all.len() >= 4);
    for (name, expected) in of_all {
        let path = repository().join("tests/golden").join(name);
        let json = fs::read(path.join("tokenizer.json")).unwrap();
        let section = to_section(&from_json(&json).unwrap());
        let tokenizer = Tokenizer::new(&section).unwrap();
        let expected: Vec<Vec<u32>> = serde_json::from_value(expected.clone()).unwrap();
        for (line, expected) in lines.iter().zip(&expected) {
            assert_eq!(
                &encode(&tokenizer, line, options),
                expected,
                "{name}: {line:?}"
            );
        }
    }
}
