//! Counts the instructions of a multiply-accumulate, kernel by kernel, where
//! QEMU's clock advances by the same time with each instruction; before that,
//! checks that all kernels give the bits of the portable ones.

#![no_std]
#![no_main]

mod clock;
mod product;

use briquette_engine::Isa;
use briquette_engine::quant::NumberFormat;
use semihosting::{println, process};

use clock::Clock;
use product::Product;

const FORMATS: [NumberFormat; 3] = [NumberFormat::Q8, NumberFormat::Q4, NumberFormat::Q4Affine];

/// Outputs and inputs.
const SHAPES: [(usize, usize); 5] = [(64, 64), (160, 64), (64, 256), (256, 256), (576, 576)];

#[cortex_m_rt::entry]
fn main() -> ! {
    let peripherals = cortex_m::Peripherals::take().expect("nobody else takes them");
    let product = Product::take();
    let same = FORMATS.iter().all(|format| same_bits(product, *format));
    if same && let Some(clock) = Clock::new(peripherals.SYST) {
        for format in FORMATS {
            for (rows, cols) in SHAPES {
                count(&clock, product, format, rows, cols);
            }
        }
        process::exit(0);
    }
    process::exit(1);
}

/// Compares all kernels for one token and for several, and says which differ.
fn same_bits(product: &mut Product, format: NumberFormat) -> bool {
    let mut same = true;
    for seed in 0..4 {
        for tokens in [1, 2, 7] {
            product.fill(format, 48, 160, tokens, seed);
            let expected = product.digest(Isa::PORTABLE);
            for isa in Isa::available() {
                if product.digest(isa) != expected {
                    println!("{} {}: other bits", format.name(), isa.name());
                    same = false;
                }
            }
        }
    }
    same
}

/// Prints a row: kernel, format, shape, instructions per multiply-accumulate.
fn count(clock: &Clock, product: &mut Product, format: NumberFormat, rows: usize, cols: usize) {
    product.fill(format, rows, cols, 1, 0);
    for isa in Isa::available() {
        let instructions = clock.instructions(|| product.run(isa));
        let thousandths = instructions * 1000 / (rows * cols) as u64;
        println!(
            "{:9} {:4} {:3}x{:<3} {}.{:03}",
            isa.name(),
            format.name(),
            rows,
            cols,
            thousandths / 1000,
            thousandths % 1000
        );
    }
}

/// Says what went wrong, where QEMU can hear it.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("{}", info);
    process::exit(1);
}
