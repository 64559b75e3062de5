//! Every kernel against the plain operations, on random numbers of many shapes.

extern crate std;

mod attention;
mod likeliest;

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use std::println;

use burn::backend::{Flex, Wgpu};
use burn::tensor::{Int, Tensor, TensorData};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro128PlusPlus;

use crate::blob::{self, Moe, Role, Router, Scoring, TensorRecord};
use crate::burn::backend::{Angles, DecoderBackend, Routing};
use crate::quant::{Block, BlockGroup, GROUP, LANES, NumberFormat, fit_q4, fit_q4a, fit_q8};

/// Relative to the largest number of a result: a few units in the last place of
/// each of its terms.
const BOUND: f32 = 2e-6;

/// A number for each backend.
struct Numbers(Xoshiro128PlusPlus);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(Xoshiro128PlusPlus::seed_from_u64(seed))
    }

    fn number(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn list(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| scale * self.number()).collect()
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0.next_u32() % limit
    }
}

fn tensor<B: DecoderBackend, const D: usize>(values: &[f32], dims: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), dims), &Default::default())
}

fn list<B: DecoderBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

fn same(what: &str, plain: &[f32], kernel: &[f32]) {
    assert_eq!(plain.len(), kernel.len(), "{what}");
    let largest = plain.iter().fold(1e-9_f32, |max, x| max.max(x.abs()));
    let pairs = plain.iter().zip(kernel);
    let (at, difference) =
        pairs
            .map(|(a, b)| (a - b).abs())
            .enumerate()
            .fold(
                (0, 0.0),
                |best, one| if one.1 <= best.1 { best } else { one },
            );
    let differing = plain.iter().zip(kernel).filter(|(a, b)| a != b).count();
    println!(
        "{what}: {differing} of {} differ, by at most {difference:e}",
        plain.len()
    );
    assert!(
        difference <= BOUND * largest,
        "{what}: number {at} is {} and not {}",
        kernel[at],
        plain[at]
    );
}

#[test]
fn norms_and_codes() {
    fn run<B: DecoderBackend>(x: &[f32], weight: &[f32], tokens: usize) -> [Vec<f32>; 3] {
        let width = weight.len();
        let weight = tensor::<B, 1>(weight, [width]);
        let out = B::normalize(tensor(x, [tokens, width]), &weight, 1e-6, true);
        let codes = out.codes.unwrap();
        [list(out.values), list(codes.codes), list(codes.scales)]
    }
    let mut numbers = Numbers::new(1);
    for (tokens, width) in [(1, 32), (3, 40), (7, 576), (2, 2048), (5, 4128), (1, 17)] {
        let (x, weight) = (numbers.list(tokens * width, 3.0), numbers.list(width, 1.0));
        let plain = run::<Flex>(&x, &weight, tokens);
        let kernel = run::<Wgpu>(&x, &weight, tokens);
        for (plain, kernel) in plain.iter().zip(&kernel) {
            same(&format!("norm {tokens} x {width}"), plain, kernel);
        }
    }
}

#[test]
fn gates() {
    fn run<B: DecoderBackend>(gate: &[f32], up: &[f32], dims: [usize; 2]) -> [Vec<f32>; 3] {
        let out = B::gate(tensor(gate, dims), tensor(up, dims), true);
        let codes = out.codes.unwrap();
        [list(out.values), list(codes.codes), list(codes.scales)]
    }
    let mut numbers = Numbers::new(2);
    for dims in [[1, 32], [3, 100], [8, 257]] {
        let len = dims[0] * dims[1];
        let (gate, up) = (numbers.list(len, 20.0), numbers.list(len, 2.0));
        let (plain, kernel) = (run::<Flex>(&gate, &up, dims), run::<Wgpu>(&gate, &up, dims));
        for (plain, kernel) in plain.iter().zip(&kernel) {
            same(&format!("gate {dims:?}"), plain, kernel);
        }
    }
}

#[test]
fn rotations() {
    fn run<B: DecoderBackend>(x: &[f32], angles: [&[f32]; 2], dims: [usize; 3]) -> Vec<f32> {
        let [cos, sin] = angles.map(|x| tensor(x, [dims[0], dims[2] / 2]));
        list(B::rotate(tensor(x, dims), &Angles { cos, sin }))
    }
    let mut numbers = Numbers::new(3);
    for dims in [[1, 1, 8], [3, 5, 64], [7, 2, 12]] {
        let x = numbers.list(dims.iter().product(), 2.0);
        let half = dims[0] * dims[2] / 2;
        let (cos, sin) = (numbers.list(half, 1.0), numbers.list(half, 1.0));
        let plain = run::<Flex>(&x, [&cos, &sin], dims);
        same("rope", &plain, &run::<Wgpu>(&x, [&cos, &sin], dims));
    }
}

#[test]
fn rotations_before_rounding() {
    fn run<B: DecoderBackend>(x: &[f32], dims: [usize; 3]) -> Vec<f32> {
        list(B::hadamard(tensor(x, dims)))
    }
    let mut numbers = Numbers::new(11);
    for dims in [[1, 1, 1], [3, 5, 64], [7, 2, 12], [2, 3, 136], [1, 2, 512]] {
        let x = numbers.list(dims.iter().product(), 2.0);
        same("hadamard", &run::<Flex>(&x, dims), &run::<Wgpu>(&x, dims));
    }
}

/// The matrices of one tensor, in the file's form.
struct Packed {
    record: TensorRecord,
    payload: Vec<u8>,
}

impl Packed {
    fn new(
        numbers: &mut Numbers,
        format: NumberFormat,
        role: Role,
        [count, rows, cols]: [usize; 3],
    ) -> Self {
        let groups = cols.div_ceil(GROUP);
        let block_bytes = format.block_bytes();
        let stride = rows.div_ceil(LANES) * groups * block_bytes;
        let mut payload = vec![0; count * stride];
        for matrix in payload.chunks_mut(stride) {
            for row in 0..rows {
                for group in 0..groups {
                    let mut values = [0.0; GROUP];
                    for value in values.iter_mut().take(cols - group * GROUP) {
                        *value = numbers.number();
                    }
                    let at = (row / LANES * groups + group) * block_bytes;
                    let mut block = Block::new(format, &mut matrix[at..at + block_bytes]).unwrap();
                    let group = match format {
                        NumberFormat::F32 | NumberFormat::F16 => BlockGroup::Plain(values),
                        NumberFormat::Q8 => fit_q8(&values),
                        NumberFormat::Q4 => fit_q4(&values),
                        NumberFormat::Q4Affine => fit_q4a(&values),
                    };
                    block.encode(row % LANES, &group);
                }
            }
        }
        let record = TensorRecord {
            role,
            format,
            layer: 0,
            count: count as u32,
            rows: rows as u32,
            cols: cols as u32,
            offset: 0,
            stride: stride as u64,
        };
        Self { record, payload }
    }

    fn load<B: DecoderBackend>(&self) -> B::Matrices {
        let tensor = blob::Tensor::alone(self.record, &self.payload);
        B::load(&tensor, &Default::default()).unwrap()
    }
}

#[test]
fn products() {
    fn run<B: DecoderBackend>(packed: &Packed, x: &[f32], dims: [usize; 2]) -> Vec<f32> {
        let input = B::activation(tensor(x, dims), packed.record.format.is_integer());
        list(B::project(&packed.load::<B>(), &input))
    }
    let mut numbers = Numbers::new(4);
    for format in NumberFormat::ALL {
        for (tokens, rows, cols) in [
            (1, 16, 32),
            (1, 50, 2100),
            (3, 7, 40),
            (9, 33, 100),
            (17, 130, 576),
        ] {
            let packed = Packed::new(&mut numbers, format, Role::Output, [1, rows, cols]);
            let x = numbers.list(tokens * cols, 2.0);
            let plain = run::<Flex>(&packed, &x, [tokens, cols]);
            let kernel = run::<Wgpu>(&packed, &x, [tokens, cols]);
            same(
                &format!("{format:?} {tokens} x {rows} x {cols}"),
                &plain,
                &kernel,
            );
        }
    }
    let packed = Packed::new(&mut numbers, NumberFormat::F32, Role::Router, [1, 60, 300]);
    let x = numbers.list(5 * 300, 2.0);
    let plain = run::<Flex>(&packed, &x, [5, 300]);
    same(
        "router's product",
        &plain,
        &run::<Wgpu>(&packed, &x, [5, 300]),
    );
}

#[test]
fn products_of_heads() {
    fn run<B: DecoderBackend>(packed: &Packed, x: &[f32], dims: [usize; 3]) -> Vec<f32> {
        let input = B::activation(tensor(x, dims), packed.record.format.is_integer());
        list(B::project_heads(&packed.load::<B>(), &input))
    }
    let mut numbers = Numbers::new(5);
    for format in NumberFormat::ALL {
        for (tokens, heads, rows, cols) in [(1, 4, 64, 32), (5, 3, 20, 48), (11, 2, 33, 130)] {
            let packed = Packed::new(&mut numbers, format, Role::KeyUp, [heads, rows, cols]);
            let x = numbers.list(tokens * heads * cols, 2.0);
            let dims = [tokens, heads, cols];
            let plain = run::<Flex>(&packed, &x, dims);
            same(
                &format!("{format:?} heads"),
                &plain,
                &run::<Wgpu>(&packed, &x, dims),
            );
        }
    }
}

#[test]
fn rows_of_an_embedding() {
    fn run<B: DecoderBackend>(packed: &Packed, ids: &[i32]) -> Vec<f32> {
        let data = TensorData::new(ids.to_vec(), [ids.len()]);
        let ids = Tensor::<B, 1, Int>::from_data(data, &Default::default());
        list(B::embed(&packed.load::<B>(), ids))
    }
    let mut numbers = Numbers::new(6);
    for format in NumberFormat::ALL {
        let packed = Packed::new(&mut numbers, format, Role::Embedding, [1, 100, 72]);
        let ids = [3, 99, 0, 15, 16, 3];
        let plain = run::<Flex>(&packed, &ids);
        same(
            &format!("{format:?} rows"),
            &plain,
            &run::<Wgpu>(&packed, &ids),
        );
    }
}

#[test]
fn mixtures() {
    fn run<B: DecoderBackend>(
        packed: &[Packed; 3],
        input: (&[f32], [usize; 2]),
        routing: (&[i32], &[f32], [usize; 2]),
    ) -> Vec<f32> {
        let is_integer = |packed: &Packed| packed.record.format.is_integer();
        let quantizes = packed.iter().any(is_integer);
        let x = B::activation(tensor(input.0, input.1), quantizes);
        let data = TensorData::new(routing.0.to_vec(), routing.2);
        let routing = Routing {
            experts: Tensor::from_data(data, &Default::default()),
            weights: tensor(routing.1, routing.2),
        };
        let [gate, up, down] = packed.each_ref().map(Packed::load::<B>);
        let residual = tensor(input.0, input.1);
        list(B::experts([&gate, &up, &down], &x, &routing, residual))
    }
    let mut numbers = Numbers::new(7);
    let shapes = [(1, 64, 32, 8, 2), (4, 100, 50, 5, 3), (3, 300, 97, 4, 4)];
    let alike = NumberFormat::ALL.map(|format| ([format; 3], &shapes[..]));
    let mixed = [
        [NumberFormat::Q4, NumberFormat::F16, NumberFormat::Q8],
        [NumberFormat::F32, NumberFormat::Q8, NumberFormat::F16],
        [NumberFormat::F16, NumberFormat::F32, NumberFormat::Q4Affine],
    ];
    let mixed = mixed.map(|formats| (formats, &shapes[1..2]));
    for (formats, shapes) in alike.into_iter().chain(mixed) {
        for &(tokens, width, size, count, top_k) in shapes {
            let wide = [count, size, width];
            let packed = [
                Packed::new(&mut numbers, formats[0], Role::ExpertGate, wide),
                Packed::new(&mut numbers, formats[1], Role::ExpertUp, wide),
                Packed::new(
                    &mut numbers,
                    formats[2],
                    Role::ExpertDown,
                    [count, width, size],
                ),
            ];
            let x = numbers.list(tokens * width, 0.3);
            let mut ids = Vec::new();
            for _ in 0..tokens {
                let first = numbers.below((count - top_k + 1) as u32) as i32;
                ids.extend((0..top_k as i32).map(|i| first + i));
            }
            // Some that are not there.
            ids[top_k - 1] = -1;
            let weights = numbers.list(tokens * top_k, 1.0);
            let input = (&x[..], [tokens, width]);
            let routing = (&ids[..], &weights[..], [tokens, top_k]);
            let plain = run::<Flex>(&packed, input, routing);
            same(
                &format!("{formats:?} experts"),
                &plain,
                &run::<Wgpu>(&packed, input, routing),
            );
        }
    }
}

#[test]
fn choices_of_experts() {
    fn run<B: DecoderBackend>(moe: &Moe, logits: &[f32], bias: Option<&[f32]>) -> [Vec<f32>; 2] {
        let count = moe.num_experts as usize;
        let logits = tensor(logits, [logits.len() / count, count]);
        let bias = bias.map(|bias| tensor(bias, [count]));
        let routing = B::route(moe, logits, bias.as_ref());
        [list(routing.experts.float()), list(routing.weights)]
    }
    let mut numbers = Numbers::new(8);
    for scoring in [Scoring::Softmax, Scoring::SigmoidWithBias] {
        for (experts, top_k, groups, top_groups, normalize) in [
            (8, 2, 1, 1, true),
            (64, 6, 1, 1, false),
            (60, 4, 4, 2, true),
            (256, 8, 8, 4, true),
            (6, 2, 6, 3, false),
        ] {
            let moe = Moe {
                num_experts: experts,
                top_k,
                expert_size: 0,
                shared_size: 0,
                router: Router {
                    scoring,
                    num_groups: groups,
                    top_groups,
                    normalize,
                    scale: 1.7,
                },
            };
            let logits = numbers.list(5 * experts as usize, 4.0);
            let bias = numbers.list(experts as usize, 0.2);
            let bias = (scoring == Scoring::SigmoidWithBias).then_some(&bias[..]);
            let plain = run::<Flex>(&moe, &logits, bias);
            let kernel = run::<Wgpu>(&moe, &logits, bias);
            assert_eq!(plain[0], kernel[0], "{moe:?}");
            same(
                &format!("weights of {top_k} of {experts}"),
                &plain[1],
                &kernel[1],
            );
        }
    }
}
