//! How many instructions the kernels take: a figure without noise.
//!
//! ```text
//! sudo apt-get install valgrind && cargo install gungraun-runner@0.20.0 --locked
//! cargo bench -p briquette-engine --features std --bench instructions
//! ```
//!
//! Gungraun runs each case once in Callgrind and compares it with the time
//! before. Valgrind knows instruction sets up to AVX2; `bash tests/aarch64 count`
//! counts for 64-bit Arm in QEMU, `bash firmware/scripts/count` for microcontrollers.
//! `engine/KERNELS.md` has the counts as instructions per multiply-add.

// The macros make public items.
#![allow(missing_docs)]

mod cases;

use std::hint::black_box;

use briquette_engine::Isa;
use briquette_engine::kernels::activation::{gated, softmax};
use briquette_engine::kernels::norm::rms_norm;
use briquette_engine::kernels::quantize::quantize;
use briquette_engine::kernels::rope;
use briquette_engine::quant::{GROUP, NumberFormat, SegmentFormat};
use cases::{Attention, Product, isa, numbers};
use gungraun::{library_benchmark, library_benchmark_group, main};

/// Rows and columns: 2^20 multiply-adds per token.
const SHAPE: [usize; 2] = [1024, 1024];

/// Cached rows: two chunks.
const POSITIONS: usize = 256;

/// Numbers that a kernel for vectors works on.
const NUMBERS: usize = 1024;

fn product(kernels: &str, format: NumberFormat, tokens: usize) -> Product {
    Product::new(isa(kernels), format, SHAPE, tokens)
}

#[library_benchmark(setup = product)]
#[bench::q8_portable_1("portable", NumberFormat::Q8, 1)]
#[bench::q8_portable_8("portable", NumberFormat::Q8, 8)]
#[bench::q8_avx2_1("avx2", NumberFormat::Q8, 1)]
#[bench::q8_avx2_8("avx2", NumberFormat::Q8, 8)]
#[bench::q4_portable_1("portable", NumberFormat::Q4, 1)]
#[bench::q4_portable_8("portable", NumberFormat::Q4, 8)]
#[bench::q4_avx2_1("avx2", NumberFormat::Q4, 1)]
#[bench::q4_avx2_8("avx2", NumberFormat::Q4, 8)]
#[bench::q4a_portable_1("portable", NumberFormat::Q4Affine, 1)]
#[bench::q4a_portable_8("portable", NumberFormat::Q4Affine, 8)]
#[bench::q4a_avx2_1("avx2", NumberFormat::Q4Affine, 1)]
#[bench::q4a_avx2_8("avx2", NumberFormat::Q4Affine, 8)]
fn linear(mut case: Product) -> Product {
    case.run();
    case
}

fn latent(kernels: &str, format: SegmentFormat) -> Attention {
    Attention::latent(isa(kernels), format, POSITIONS)
}

fn grouped(kernels: &str, format: SegmentFormat) -> Attention {
    Attention::grouped(isa(kernels), format, POSITIONS)
}

#[library_benchmark]
#[bench::latent_f16_portable(latent("portable", SegmentFormat::F16))]
#[bench::latent_f16_avx2(latent("avx2", SegmentFormat::F16))]
#[bench::latent_q8_portable(latent("portable", SegmentFormat::Q8))]
#[bench::latent_q8_avx2(latent("avx2", SegmentFormat::Q8))]
#[bench::latent_q4_portable(latent("portable", SegmentFormat::Q4))]
#[bench::latent_q4_avx2(latent("avx2", SegmentFormat::Q4))]
#[bench::grouped_f16_portable(grouped("portable", SegmentFormat::F16))]
#[bench::grouped_f16_avx2(grouped("avx2", SegmentFormat::F16))]
#[bench::grouped_q8_portable(grouped("portable", SegmentFormat::Q8))]
#[bench::grouped_q8_avx2(grouped("avx2", SegmentFormat::Q8))]
#[bench::grouped_q4_portable(grouped("portable", SegmentFormat::Q4))]
#[bench::grouped_q4_avx2(grouped("avx2", SegmentFormat::Q4))]
fn attention(mut case: Attention) -> Attention {
    case.run();
    case
}

/// Vectors that a kernel reads and writes.
struct Vectors {
    isa: Isa,
    x: Vec<f32>,
    out: Vec<f32>,
    codes: Vec<i8>,
    sums: Vec<i32>,
}

fn vectors(kernels: &str) -> Vectors {
    Vectors {
        isa: isa(kernels),
        x: numbers(NUMBERS),
        out: numbers(NUMBERS),
        codes: vec![0; NUMBERS],
        sums: vec![0; NUMBERS / GROUP],
    }
}

#[library_benchmark(setup = vectors)]
#[bench::portable("portable")]
#[bench::avx2("avx2")]
fn norm(mut v: Vectors) -> Vectors {
    rms_norm(v.isa, black_box(&v.x), &v.x, 1e-6, &mut v.out);
    v
}

#[library_benchmark(setup = vectors)]
#[bench::portable("portable")]
#[bench::avx2("avx2")]
fn activations_to_codes(mut v: Vectors) -> Vectors {
    quantize(
        v.isa,
        black_box(&v.x),
        &mut v.codes,
        &mut v.out,
        &mut v.sums,
    );
    v
}

#[library_benchmark(setup = vectors)]
#[bench::portable("portable")]
#[bench::avx2("avx2")]
fn rotate(mut v: Vectors) -> Vectors {
    rope::rotate(v.isa, &mut v.out, black_box(&v.x), &v.x);
    v
}

#[library_benchmark(setup = vectors)]
#[bench::portable("portable")]
#[bench::avx2("avx2")]
fn silu_times_up(mut v: Vectors) -> Vectors {
    gated(v.isa, &mut v.out, black_box(&v.x));
    v
}

#[library_benchmark(setup = vectors)]
#[bench::every_isa("portable")]
fn softmax_of_a_row(mut v: Vectors) -> Vectors {
    softmax(black_box(&mut v.out));
    v
}

library_benchmark_group!(name = products, benchmarks = linear);
library_benchmark_group!(name = caches, benchmarks = attention);
library_benchmark_group!(
    name = vector_kernels,
    benchmarks = [
        norm,
        activations_to_codes,
        rotate,
        silu_times_up,
        softmax_of_a_row
    ]
);
main!(library_benchmark_groups = [products, caches, vector_kernels]);
