//! The README's pictures show what its text says.

use std::fs;
use std::path::Path;

/// Every ratio of the table beside llama.cpp is in the chart, in its order.
#[test]
fn the_chart_shows_the_table_s_ratios() {
    let readme = read("README.md");
    let table = readme
        .split_once("<!-- written by tests/peer/run --write-readme -->")
        .and_then(|(_, rest)| rest.split_once("<!-- end of what it writes -->"))
        .map(|(table, _)| table)
        .unwrap();
    let ratios: Vec<&str> = table.lines().filter_map(ratio).collect();
    assert!(ratios.len() >= 8, "the table has {} rows", ratios.len());
    let chart = read(".github/pictures/ratios.svg");
    let mut rest = chart.as_str();
    for ratio in ratios {
        let label = format!(">{ratio}</text>");
        let Some((_, after)) = rest.split_once(&label) else {
            panic!("{ratio} is not in the chart: run `python3 tests/peer/readme.py README.md`");
        };
        rest = after;
    }
}

/// The ratio in a row of the table: the fifth cell, after the threads.
fn ratio(line: &str) -> Option<&str> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    cells.nth(1)?.parse::<u32>().ok()?;
    cells.nth(2)
}

fn read(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(name)).unwrap()
}
