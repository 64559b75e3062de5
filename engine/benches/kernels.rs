//! How fast the kernels are. Of matrix products by number format, instruction
//! set, shape and tokens at a time, also how near to the arithmetic ceiling: what
//! a core reaches that multiplies codes in its registers and does nothing else.
//!
//! ```text
//! cargo bench -p briquette-engine --features std --bench kernels
//! cargo bench -p briquette-engine --features std --bench kernels -- q4 avx512-vnni 1024x1024
//! ```
//!
//! The second line measures only what has all these words. After `--once`, a
//! number format, an instruction set, a number of tokens and a number of runs, it
//! does only that: for emulators that count instructions.

mod cases;

use std::time::Instant;

use briquette_engine::Isa;
use briquette_engine::kernels::peak;
use briquette_engine::quant::{NumberFormat, SegmentFormat};
use cases::{Attention, Product, isa};

/// Rows and columns of ds2-edge's attention, and of its experts' matrices.
const SHAPES: [[usize; 2]; 3] = [[1024, 1024], [384, 1024], [1024, 384]];

/// A token alone, a tile, and batches.
const TOKENS: [usize; 4] = [1, 8, 64, 512];

/// Cached rows.
const POSITIONS: usize = 2048;

/// Runs of which the median counts.
const RUNS: usize = 9;

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    // Cargo's own.
    words.retain(|word| word != "--bench");
    if let [flag, format, kernels, tokens, runs] = words.as_slice()
        && flag == "--once"
    {
        let format = NumberFormat::ALL.into_iter().find(|f| f.name() == format);
        let format = format.expect("a number format");
        let tokens = tokens.parse().expect("a number of tokens");
        let mut case = Product::new(isa(kernels), format, SHAPES[1], tokens);
        for _ in 0..runs.parse().expect("a number of runs") {
            case.run();
        }
        return;
    }
    products(&words);
    attention(&words);
}

/// Whether a row of a table is asked for.
fn asked(words: &[String], row: &[&str]) -> bool {
    words.iter().all(|word| row.contains(&word.as_str()))
}

fn products(words: &[String]) {
    println!(
        "| weights | kernels | rows x columns | tokens | weights read, GB/s | GOP/s | of the ceiling |"
    );
    println!("|---|---|---|---|---|---|---|");
    for isa in Isa::available() {
        for format in NumberFormat::ALL {
            for [rows, cols] in SHAPES {
                for tokens in TOKENS {
                    let shape = format!("{rows}x{cols}");
                    let count = tokens.to_string();
                    if asked(words, &[format.name(), isa.name(), &shape, &count]) {
                        product(isa, format, [rows, cols], tokens);
                    }
                }
            }
        }
    }
}

fn product(isa: Isa, format: NumberFormat, [rows, cols]: [usize; 2], tokens: usize) {
    let mut case = Product::new(isa, format, [rows, cols], tokens);
    let operations = (2 * rows * cols * tokens) as f64;
    let (seconds, ceiling) = measure(isa, operations, || case.run());
    let share = match ceiling {
        Some(ceiling) if format.is_integer() => {
            format!("{:.0} %", 100.0 * operations / seconds / ceiling)
        }
        _ => String::new(),
    };
    println!(
        "| {} | {} | {rows}x{cols} | {tokens} | {:.1} | {:.0} | {share} |",
        format.name(),
        isa.name(),
        format.matrix_bytes(rows as u32, cols as u32) as f64 / seconds / 1e9,
        operations / seconds / 1e9,
    );
}

fn attention(words: &[String]) {
    println!("\n| attention to {POSITIONS} rows | cache | kernels | microseconds | GOP/s |");
    println!("|---|---|---|---|---|");
    let (latent, grouped): (Make, Make) = (Attention::latent, Attention::grouped);
    // Heads times the columns that each meets in a row, keys' and values'.
    let kinds = [
        ("latent", latent, 16 * (256 + 32 + 256)),
        ("grouped", grouped, 3 * (64 + 64)),
    ];
    let formats = [
        ("f16", SegmentFormat::F16),
        ("q8", SegmentFormat::Q8),
        ("q4", SegmentFormat::Q4),
    ];
    for isa in Isa::available() {
        for (kind, make, columns) in kinds {
            for (name, format) in formats {
                if !asked(words, &[kind, isa.name(), name]) {
                    continue;
                }
                let mut case = make(isa, format, POSITIONS);
                let operations = (2 * POSITIONS * columns) as f64;
                let (seconds, _) = measure(isa, operations, || case.run());
                println!(
                    "| {kind} | {name} | {} | {:.1} | {:.1} |",
                    isa.name(),
                    seconds * 1e6,
                    operations / seconds / 1e9,
                );
            }
        }
    }
}

type Make = fn(Isa, SegmentFormat, usize) -> Attention;

/// Medians of the seconds of one run and of the ceiling in operations a second,
/// taken in turns.
fn measure(isa: Isa, operations: f64, mut run: impl FnMut()) -> (f64, Option<f64>) {
    /// Enough for a clock.
    const OPERATIONS: f64 = 3e7;
    let repeat = (OPERATIONS / operations) as usize + 1;
    let (mut seconds, mut ceilings) = (Vec::new(), Vec::new());
    run();
    for _ in 0..RUNS {
        let start = Instant::now();
        for _ in 0..repeat {
            run();
        }
        seconds.push(start.elapsed().as_secs_f64() / repeat as f64);
        ceilings.extend(ceiling(isa));
    }
    (median(seconds).unwrap_or(f64::NAN), median(ceilings))
}

/// Operations a second of products of codes alone.
fn ceiling(isa: Isa) -> Option<f64> {
    let start = Instant::now();
    let products = peak(isa, 20_000)?;
    Some(2.0 * products as f64 / start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
