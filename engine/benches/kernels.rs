//! How fast the matrix kernels are, by number format, instruction set and
//! tokens at a time.
//!
//! ```text
//! cargo bench -p briquette-engine --features std
//! valgrind --tool=callgrind BINARY --once q4 avx2 16
//! ```
//!
//! The second line counts instructions, a figure without noise: once for one
//! format, instruction set and number of tokens. (Valgrind knows instruction
//! sets up to AVX2.) BINARY is what the first line prints after "Running".

use std::hint::black_box;
use std::time::Instant;

use briquette_engine::kernels::quantize::quantize;
use briquette_engine::kernels::{Inputs, Isa, linear};
use briquette_engine::quant::{GROUP, LANES, Matrix, NumberFormat};

/// Columns and rows of the matrix: some hundred kilobytes, so that the
/// second-level cache holds it.
const COLS: usize = 1024;
const ROWS: usize = 512;

/// Runs of which the median counts.
const RUNS: usize = 9;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, format, isa, tokens] = args.as_slice()
        && flag == "--once"
    {
        let format = NumberFormat::ALL.into_iter().find(|f| f.name() == format);
        let isa = Isa::available().find(|known| known.name() == isa);
        let bench = Bench::new(
            format.expect("a number format"),
            isa.expect("an instruction set of this processor"),
            tokens.parse().expect("a number of tokens"),
        );
        return bench.run(&mut bench.results());
    }
    println!("| weights | kernels | tokens | weights read, GB/s | GOP/s |");
    println!("|---|---|---|---|---|");
    for format in NumberFormat::ALL {
        for isa in Isa::available() {
            for tokens in [1, 4, 16, 64] {
                Bench::new(format, isa, tokens).report();
            }
        }
    }
}

/// One matrix and the vectors that it meets.
struct Bench {
    format: NumberFormat,
    isa: Isa,
    tokens: usize,
    weights: Vec<u8>,
    values: Vec<f32>,
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Bench {
    fn new(format: NumberFormat, isa: Isa, tokens: usize) -> Self {
        let columns = COLS * tokens;
        let bytes = format.matrix_bytes(ROWS as u32, COLS as u32) as usize;
        let mut bench = Self {
            format,
            isa,
            tokens,
            // Small numbers, whatever the format.
            weights: vec![0x11; bytes],
            values: (0..columns).map(|i| (i % 97) as f32 - 48.0).collect(),
            codes: vec![0; columns],
            scales: vec![0.0; columns / GROUP],
            sums: vec![0; columns / GROUP],
        };
        let (codes, scales) = (&mut bench.codes, &mut bench.scales);
        quantize(isa, &bench.values, codes, scales, &mut bench.sums);
        bench
    }

    /// Room for the results.
    fn results(&self) -> Vec<f32> {
        vec![0.0; ROWS.next_multiple_of(LANES) * self.tokens]
    }

    fn run(&self, out: &mut [f32]) {
        let (rows, cols) = (ROWS as u32, COLS as u32);
        let matrix = Matrix::new(self.format, rows, cols, &self.weights).expect("its bytes");
        let inputs = Inputs {
            values: &self.values,
            codes: &self.codes,
            scales: &self.scales,
            sums: &self.sums,
            stride: COLS,
            offset: 0,
            picked: None,
            count: self.tokens,
        };
        linear(self.isa, &matrix, 0, black_box(&inputs), out);
        black_box(out);
    }

    fn report(&self) {
        let mut out = self.results();
        let mut seconds: Vec<f64> = (0..RUNS)
            .map(|_| {
                let start = Instant::now();
                self.run(&mut out);
                start.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[RUNS / 2];
        println!(
            "| {} | {} | {} | {:.1} | {:.0} |",
            self.format.name(),
            self.isa.name(),
            self.tokens,
            self.weights.len() as f64 / median / 1e9,
            (2 * ROWS * COLS * self.tokens) as f64 / median / 1e9,
        );
    }
}
