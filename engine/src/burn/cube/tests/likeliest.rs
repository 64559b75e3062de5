//! The choice of the likeliest tokens.

use super::*;

fn likeliest(logits: &[f32], rows: usize, count: usize) -> Vec<(u32, u32)> {
    let logits = tensor::<Wgpu, 2>(logits, [rows, logits.len() / rows]);
    let chosen = Wgpu::likeliest(&logits, count).unwrap().unwrap();
    chosen
        .iter()
        .map(|likely| (likely.token, bits(likely.logit)))
        .collect()
}

/// Those of a number; zeros are alike, and so is all that is not a number.
fn bits(logit: f32) -> u32 {
    if logit.is_nan() {
        u32::MAX
    } else {
        (logit + 0.0).to_bits()
    }
}

fn check(what: &str, logits: &[f32], rows: usize, count: usize) {
    let width = logits.len() / rows;
    let mut expected = Vec::new();
    for row in logits.chunks(width) {
        let mut tokens: Vec<u32> = (0..width as u32).collect();
        tokens.sort_by(|a, b| {
            let [a, b] = [a, b].map(|token| row[*token as usize]);
            let by_number = b.partial_cmp(&a);
            by_number.unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
        });
        let tokens = tokens.iter().take(count);
        expected.extend(tokens.map(|token| (*token, bits(row[*token as usize]))));
    }
    let found = likeliest(logits, rows, count);
    assert_eq!(found, expected, "{what}: {count} of {rows} x {width}");
}

#[test]
fn likeliest_tokens() {
    let mut numbers = Numbers::new(10);
    for (rows, width, count) in [
        (1, 1, 1),
        (3, 100, 7),
        (2, 4096, 1),
        (2, 4097, 2),
        (1, 12_300, 128),
        (1, 151_936, 1),
        (2, 151_936, 128),
    ] {
        let mut logits = numbers.list(rows * width, 9.0);
        check("random", &logits, rows, count);
        check("equal", &vec![-3.5; rows * width], rows, count);
        let zeros: Vec<f32> = (0..rows * width)
            .map(|i| if i % 3 == 0 { -0.0 } else { 0.0 })
            .collect();
        check("zeros of both signs", &zeros, rows, count);
        // The first of two that are equal, in different chunks where there are any.
        logits[width - 1] = 100.0;
        logits[width / 2] = 100.0;
        check("two", &logits, rows, count);
        logits[0] = f32::INFINITY;
        check("infinity", &logits, rows, count);
        logits[width * 2 / 3] = -f32::NAN;
        logits[width - 1] = f32::NAN;
        check("not numbers", &logits, rows, count);
        let nothing = vec![f32::NEG_INFINITY; rows * width];
        check("nothing", &nothing, rows, count);
    }
}

#[test]
fn whole_rows_are_read_where_many_are_asked_for() {
    let logits = tensor::<Wgpu, 2>(&[0.5; 300], [1, 300]);
    assert!(Wgpu::likeliest(&logits, 300).unwrap().is_none());
    let logits = tensor::<Wgpu, 2>(&[0.5; 3], [1, 3]);
    assert!(Wgpu::likeliest(&logits, 4).unwrap().is_none());
}
