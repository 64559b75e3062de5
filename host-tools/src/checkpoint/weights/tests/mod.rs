//! Weights from a store in memory.

mod store;

use std::collections::HashMap;
use std::ops::Range;

use briquette_engine::blob::{Attention, Gqa, LayerKind, Mla, ModelConfig, Role};
use half::f16;

use super::Weights;
use crate::checkpoint::{Encoding, Grid, ImportError, Location, Model, Rows, TensorId, Transform};
use store::{MemoryMapping, MemoryStore, Reads};

/// Latent attention: 2 heads of 2 + 4, rank 3, values of 5, hidden size 32.
fn model() -> Model {
    let attention = Mla {
        q_lora_rank: None,
        kv_lora_rank: 3,
        qk_nope_head_dim: 2,
        qk_rope_head_dim: 4,
        v_head_dim: 5,
        latent_norm_eps: 1e-6,
        bias: true,
    };
    Model {
        mtp: None,
        architecture: "Test".to_owned(),
        name: None,
        config: ModelConfig {
            vocab_size: 4,
            hidden_size: 32,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 8,
            max_position_embeddings: 16,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: true,
            mlp_bias: false,
            attention: Attention::Mla(attention),
            softmax_scale: 1.0,
            rope_attention_factor: 1.0,
            sliding_window: None,
            moe: None,
        },
        layers: vec![LayerKind::default()],
        rope_inverse_frequencies: vec![1.0, 0.5],
    }
}

const fn id(role: Role) -> TensorId {
    TensorId { role, layer: 0 }
}

fn counting(rows: usize, cols: usize) -> Rows {
    Rows {
        cols,
        values: (0..rows * cols).map(|at| at as f32).collect(),
        grids: Vec::new(),
    }
}

fn weights(role: Role, shape: &[u64], rows: Rows, transform: Transform) -> (Weights, Reads) {
    let reads = Reads::default();
    let store = MemoryStore {
        tensors: HashMap::from([("stored".to_owned(), (shape.to_vec(), rows))]),
        reads: reads.clone(),
    };
    let location = Location {
        tensor: "stored".to_owned(),
        shape: shape.to_vec(),
        first_row: 0,
        transform,
    };
    let mapping = MemoryMapping(HashMap::from([(role, location)]));
    (
        Weights::new(model(), Box::new(store), Box::new(mapping)),
        reads,
    )
}

fn read(weights: &mut Weights, role: Role, index: u32, rows: Range<u32>) -> Rows {
    // What was there before must not show.
    let mut out = Rows {
        cols: 99,
        values: vec![7.0; 3],
        grids: vec![grid(0); 3],
    };
    weights.read(id(role), index, rows, &mut out).unwrap();
    out
}

fn grid(number: usize) -> Grid {
    Grid {
        scale: f16::from_f32(number as f32),
        min: f16::ZERO,
        bits: 4,
    }
}

const SPLIT: Transform = Transform::SplitRopePairs {
    head_rows: 6,
    rope_rows: 4,
};

#[test]
fn tensors_come_in_file_order() {
    let (weights, _) = weights(
        Role::Embedding,
        &[4, 32],
        counting(4, 32),
        Transform::Direct,
    );
    let roles: Vec<Role> = weights.ids().map(|id| id.role).collect();
    assert_eq!(
        roles,
        [
            Role::Embedding,
            Role::RopeInverseFrequency,
            Role::FinalNorm,
            Role::AttentionNorm,
            Role::Query,
            Role::KvA,
            Role::KvABias,
            Role::KvANorm,
            Role::KeyUp,
            Role::ValueUp,
            Role::Output,
            Role::OutputBias,
            Role::MlpNorm,
            Role::Gate,
            Role::Up,
            Role::Down,
        ]
    );
    assert_eq!(weights.encoding(id(Role::Embedding)), Some(Encoding::Q8_0));
    assert_eq!(
        weights.encoding(id(Role::RopeInverseFrequency)),
        Some(Encoding::F32)
    );
}

#[test]
fn direct_rows_are_counted_from_the_matrix_s_first() {
    let (mut weights, reads) = weights(Role::ValueUp, &[20, 3], counting(20, 3), Transform::Direct);
    let rows = read(&mut weights, Role::ValueUp, 1, 1..3);
    assert_eq!(
        (rows.cols, rows.values.as_slice()),
        (3, &[33.0, 34.0, 35.0, 36.0, 37.0, 38.0][..])
    );
    assert_eq!(*reads.borrow(), [(11, 13)]);
}

#[test]
fn every_range_of_split_rows_is_right() {
    let mut stored = counting(12, 32);
    stored.grids = (0..12).map(grid).collect();
    let (mut weights, reads) = weights(Role::Query, &[12, 32], stored, SPLIT);
    let order = [0_usize, 1, 2, 4, 3, 5, 6, 7, 8, 10, 9, 11];
    for first in 0..=12 {
        for last in first..=12 {
            let rows = read(&mut weights, Role::Query, 0, first..last);
            let sources = &order[first as usize..last as usize];
            let expected: Vec<f32> = sources.iter().map(|row| (row * 32) as f32).collect();
            let found: Vec<f32> = rows.values.chunks(32).map(|row| row[0]).collect();
            assert_eq!(found, expected, "{first}..{last}");
            let grids: Vec<Grid> = sources.iter().map(|&row| grid(row)).collect();
            assert_eq!(rows.grids, grids, "{first}..{last}");
        }
    }
    reads.borrow_mut().clear();
    read(&mut weights, Role::Query, 0, 6..12);
    read(&mut weights, Role::Query, 0, 6..8);
    assert_eq!(*reads.borrow(), [(6, 12), (6, 8)], "no more than needed");
}

#[test]
fn elements_of_a_split_vector_are_reordered() {
    let transform = Transform::SplitRopePairs {
        head_rows: 7,
        rope_rows: 4,
    };
    let (mut weights, _) = weights(Role::KvABias, &[7], counting(1, 7), transform);
    let rows = read(&mut weights, Role::KvABias, 0, 0..1);
    assert_eq!(rows.values, [0.0, 1.0, 2.0, 3.0, 5.0, 4.0, 6.0]);
    let nothing = read(&mut weights, Role::KvABias, 0, 0..0);
    assert!(nothing.values.is_empty());
}

#[test]
fn a_transposed_matrix_is_read_once() {
    // Stored [2, 3] for each head, ten rows apart.
    let (mut weights, reads) = weights(
        Role::KeyUp,
        &[20, 3],
        counting(20, 3),
        Transform::Transposed,
    );
    let rows = read(&mut weights, Role::KeyUp, 0, 1..3);
    assert_eq!(
        (rows.cols, rows.values.as_slice()),
        (2, &[1.0, 4.0, 2.0, 5.0][..])
    );
    assert_eq!(read(&mut weights, Role::KeyUp, 0, 0..1).values, [0.0, 3.0]);
    assert_eq!(*reads.borrow(), [(0, 2)], "the second time from memory");
    assert_eq!(
        read(&mut weights, Role::KeyUp, 1, 0..1).values,
        [30.0, 33.0]
    );
    assert_eq!(read(&mut weights, Role::KeyUp, 0, 0..1).values, [0.0, 3.0]);
    assert_eq!(*reads.borrow(), [(0, 2), (10, 12), (0, 2)]);
}

#[test]
fn frequencies_come_from_the_model() {
    let (mut weights, _) = weights(
        Role::Embedding,
        &[4, 32],
        counting(4, 32),
        Transform::Direct,
    );
    let rows = read(&mut weights, Role::RopeInverseFrequency, 0, 0..1);
    assert_eq!((rows.cols, rows.values.as_slice()), (2, &[1.0, 0.5][..]));
}

#[test]
fn weights_that_are_no_numbers_are_named_where_they_are_stored() {
    let mut stored = counting(12, 32);
    stored.values[4 * 32 + 5] = f32::INFINITY;
    let place = |weights: &mut Weights, role, rows| match weights
        .read(id(role), 0, rows, &mut Rows::default())
        .unwrap_err()
    {
        ImportError::NotFinite {
            tensor,
            row,
            column,
            ..
        } => (tensor, row, column),
        other => panic!("{other}"),
    };
    let (mut split, _) = weights(Role::Query, &[12, 32], stored, SPLIT);
    // Stored row 4 is canonical row 3.
    assert_eq!(
        place(&mut split, Role::Query, 3..4),
        ("stored".to_owned(), 4, 5)
    );
    assert!(
        split
            .read(id(Role::Query), 0, 0..3, &mut Rows::default())
            .is_ok()
    );

    let mut stored = counting(20, 3);
    stored.values[3 + 2] = f32::NAN;
    let (mut transposed, _) = weights(Role::KeyUp, &[20, 3], stored, Transform::Transposed);
    assert_eq!(
        place(&mut transposed, Role::KeyUp, 0..1),
        ("stored".to_owned(), 1, 2)
    );
}

#[test]
fn rows_that_are_not_there_are_refused() {
    let (mut weights, reads) = weights(
        Role::Embedding,
        &[4, 32],
        counting(4, 32),
        Transform::Direct,
    );
    let mut refused = |role, index, rows: Range<u32>| {
        let result = weights.read(id(role), index, rows, &mut Rows::default());
        result.unwrap_err().to_string()
    };
    assert!(refused(Role::Embedding, 0, 0..5).contains("no rows 0 to 5"));
    assert!(refused(Role::Embedding, 1, 0..1).contains("no rows"));
    #[expect(clippy::reversed_empty_ranges, reason = "it must be refused")]
    let backwards = 3..2;
    assert!(refused(Role::Embedding, 0, backwards).contains("no rows 3 to 2"));
    assert!(refused(Role::LmHead, 0, 0..1).contains("LmHead"), "tied");
    assert!(reads.borrow().is_empty());
}

#[test]
fn a_check_names_what_does_not_fit_and_reads_no_weights() {
    let mut model = model();
    let config = &mut model.config;
    config.attention = Attention::Gqa(Gqa {
        num_key_value_heads: 2,
        head_dim: 4,
        query_key_norm: false,
        qkv_bias: false,
        output_bias: false,
    });
    let reads = Reads::default();
    let shapes = [
        (Role::Embedding, vec![4, 32]),
        (Role::FinalNorm, vec![32]),
        (Role::AttentionNorm, vec![32]),
        (Role::Query, vec![8, 32]),
        (Role::Key, vec![8, 32]),
        (Role::Value, vec![8, 32]),
        (Role::Output, vec![32, 8]),
        (Role::MlpNorm, vec![32]),
        (Role::Gate, vec![8, 32]),
        (Role::Up, vec![8, 32]),
        (Role::Down, vec![32, 8]),
    ];
    let checked = |changed: Option<Role>, removed: Option<Role>| {
        let mut store = MemoryStore {
            reads: reads.clone(),
            ..MemoryStore::default()
        };
        let mut locations = HashMap::new();
        for (role, shape) in shapes.clone() {
            let tensor = format!("{role:?}");
            let stored = if changed == Some(role) {
                vec![1, 2]
            } else {
                shape.clone()
            };
            if removed != Some(role) {
                store
                    .tensors
                    .insert(tensor.clone(), (stored, counting(0, 0)));
            }
            let (first_row, transform) = (0, Transform::Direct);
            locations.insert(
                role,
                Location {
                    tensor,
                    shape,
                    first_row,
                    transform,
                },
            );
        }
        let mapping = Box::new(MemoryMapping(locations));
        Weights::new(model.clone(), Box::new(store), mapping).check()
    };
    checked(None, None).unwrap();
    assert!(reads.borrow().iter().all(|(first, last)| first == last));
    let missing = checked(None, Some(Role::Up)).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "tensor `Up` is missing from the checkpoint"
    );
    let other = checked(Some(Role::Down), None).unwrap_err();
    assert!(
        matches!(&other, ImportError::Shape { tensor, found, expected }
        if tensor == "Down" && *found == [1, 2] && *expected == [32, 8])
    );
}
