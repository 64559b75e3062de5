//! FP8 weights with scales for blocks.

use std::{fs, slice};

use serde_json::{Value, json};

use super::{Stored, safetensors, with};
use crate::checkpoint::hf::blocks::BlockSize;
use crate::checkpoint::hf::keys::Keys;
use crate::checkpoint::hf::quantization;
use crate::checkpoint::hf::store::SafetensorsStore;
use crate::checkpoint::{ImportError, Rows, TensorStore};

const BLOCK: BlockSize = BlockSize { rows: 2, cols: 3 };

/// What an E4M3 code stands for, from sign, exponent and mantissa.
fn by_definition(code: u8) -> f64 {
    let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(code >> 3) & 15, f64::from(code & 7) / 8.0);
    match exponent {
        0 => sign * fraction * 2f64.powi(-6),
        _ => sign * (1.0 + fraction) * 2f64.powi(exponent - 7),
    }
}

fn fp8(name: &str, shape: &[u64], codes: Vec<u8>) -> Stored {
    Stored {
        name: name.to_owned(),
        dtype: "F8_E4M3",
        shape: shape.to_vec(),
        bytes: codes,
    }
}

fn store(tensors: &[Stored], block: Option<BlockSize>) -> SafetensorsStore {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(path, safetensors(tensors)).unwrap();
    // The open file stays readable after its folder is gone.
    SafetensorsStore::open(folder.path(), block).unwrap()
}

/// Finite codes in no order.
fn codes(len: u64) -> Vec<u8> {
    let code = |at: u64| ((at * 37 + 11) % 251) as u8;
    (0..len)
        .map(|at| if code(at) & 0x7f == 0x7f { 0 } else { code(at) })
        .collect()
}

/// Five rows and seven columns leave short blocks at both edges.
fn weight() -> (Stored, Stored) {
    let scales: Vec<f32> = (1..=9).map(|at| at as f32 * 0.3).collect();
    let scale = Stored::f32("x.weight_scale_inv", &[3, 3], &scales);
    (fp8("x.weight", &[5, 7], codes(35)), scale)
}

#[test]
fn blocks_at_the_edges_are_short() {
    let (weight, scale) = weight();
    let mut store = store(&[weight, scale], Some(BLOCK));
    let mut rows = Rows::default();
    for range in [0..5, 0..1, 1..4, 4..5, 2..2] {
        store
            .read_rows("x.weight", range.clone(), &mut rows)
            .unwrap();
        assert_eq!(rows.cols, 7);
        let mut expected = Vec::new();
        for row in range {
            for col in 0..7 {
                let block = (row / 2) * 3 + col / 3;
                let scale = (block + 1) as f32 * 0.3;
                let code = codes(35)[(row * 7 + col) as usize];
                expected.push(by_definition(code) as f32 * scale);
            }
        }
        assert_eq!(rows.values, expected);
    }
}

#[test]
fn fused_experts_have_blocks_of_their_own() {
    // Two matrices of 3 x 2: two rows of scales each.
    let scale = Stored::f32("x_scale_inv", &[2, 2, 1], &[1.0, 2.0, 4.0, 8.0]);
    let one = 0x38;
    let mut store = store(&[fp8("x", &[2, 3, 2], vec![one; 12]), scale], Some(BLOCK));
    let mut rows = Rows::default();
    store.read_rows("x", 1..6, &mut rows).unwrap();
    assert_eq!(
        rows.values,
        [1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0, 8.0, 8.0]
    );
}

#[test]
fn scales_may_be_bf16() {
    let scale = Stored {
        name: "x_scale_inv".to_owned(),
        dtype: "BF16",
        shape: vec![1, 1],
        bytes: vec![0xc0, 0x3f],
    };
    let mut store = store(&[fp8("x", &[1, 2], vec![0x38, 0xc0]), scale], Some(BLOCK));
    let mut rows = Rows::default();
    store.read_rows("x", 0..1, &mut rows).unwrap();
    assert_eq!(rows.values, [1.5, -3.0]);
}

#[test]
fn wrong_scales_are_refused_before_any_row_is_read() {
    let read = |tensors: &[Stored], block| {
        let mut rows = Rows::default();
        store(tensors, block)
            .read_rows("x.weight", 0..0, &mut rows)
            .unwrap_err()
    };
    let (weight, scale) = weight();
    let absent = read(slice::from_ref(&weight), Some(BLOCK));
    assert!(
        matches!(&absent, ImportError::MissingTensor { tensor } if tensor == "x.weight_scale_inv"),
        "{absent}"
    );
    // As if the block size followed from the number of scales.
    let wrong = Stored::f32("x.weight_scale_inv", &[3, 2], &[1.0; 6]);
    let shape = read(&[weight.clone(), wrong], Some(BLOCK));
    assert!(
        matches!(&shape, ImportError::Shape { found, expected, .. }
            if *found == [3, 2] && *expected == [3, 3]),
        "{shape}"
    );
    let unknown = read(&[weight, scale], None);
    assert!(
        unknown.to_string().contains("weight_block_size"),
        "{unknown}"
    );
    let vector = fp8("x.weight", &[4], vec![0; 4]);
    assert!(matches!(
        read(&[vector], Some(BLOCK)),
        ImportError::Unsupported { .. }
    ));
}

#[test]
fn a_scale_that_is_no_number_is_named() {
    let (weight, _) = weight();
    let mut scales = [1.0; 9];
    scales[5] = f32::NAN;
    let scale = Stored::f32("x.weight_scale_inv", &[3, 3], &scales);
    let mut store = store(&[weight, scale], Some(BLOCK));
    let error = store
        .read_rows("x.weight", 0..5, &mut Rows::default())
        .unwrap_err();
    assert!(
        matches!(&error, ImportError::NotFinite { tensor, row: 1, column: 2, .. }
            if tensor == "x.weight_scale_inv"),
        "{error}"
    );
}

#[test]
fn quantisation_is_none_or_fp8_by_blocks() {
    let block_size = |quantization: Value| {
        let config = json!({ "quantization_config": quantization });
        let keys = Keys::new("config.json".as_ref(), &config).unwrap();
        quantization::block_size(keys).map(|block| block.map(|block| (block.rows, block.cols)))
    };
    let fp8 = json!({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
        "weight_block_size": [128, 64]});
    assert_eq!(block_size(json!(null)).unwrap(), None);
    assert_eq!(block_size(fp8.clone()).unwrap(), Some((128, 64)));
    for (changes, text) in [
        (
            json!({"quant_method": "awq"}),
            "`quantization_config.quant_method` is `awq`: weights quantised in this way are not read",
        ),
        (
            json!({"quant_method": "absent"}),
            "`quantization_config.quant_method` is missing",
        ),
        (json!({"fmt": "e5m2"}), "fmt `e5m2`"),
        (
            json!({"activation_scheme": "static"}),
            "activation_scheme `static`",
        ),
        (
            json!({"weight_block_size": null}),
            "`quantization_config.weight_block_size` is absent: FP8 weights with one scale",
        ),
        (json!({"weight_block_size": [128]}), "two sizes"),
        (json!({"weight_block_size": [128, 0]}), "two sizes"),
        (json!({"weight_block_size": [128, -1]}), "two sizes"),
        (json!({"weight_block_size": [1, 2, 3]}), "two sizes"),
    ] {
        let error = block_size(with(&fp8, changes)).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}
