//! Programs for real boards build around a briquette and fit. Nothing here can
//! run them.

use std::path::Path;

use briquette::pack::WeightFormat;
use briquette::target::Target;
use briquette_engine::kv::KvFormat;
use briquette_tests::{Packed, printed, repository, script};

/// Boards of `firmware/boards` and their target profiles.
const BOARDS: [(&str, &str); 2] = [
    ("raspberry-pi-pico-2", "rp2350"),
    ("nucleo-h743zi", "stm32h743"),
];

/// The numbers in a row of `firmware/size`'s table.
struct Sizes {
    program: u64,
    model: u64,
    arena: u64,
    statics: u64,
    stack: u64,
}

#[test]
fn real_boards_build_and_fit_their_profiles() {
    let sentry = repository().join("models/sentry");
    let packed = Packed::with_context(&sentry, WeightFormat::Q4, KvFormat::Q8, 128);
    let table = size_table(&packed.path());
    print!("{table}");
    let blob = packed.file.blob().unwrap();
    let memory = blob.manifest().memory;
    let planned = memory.scratch_bytes + memory.kv_bytes;
    for (board, profile) in BOARDS {
        let target = Target::find(profile).unwrap();
        let firmware = target.firmware.as_ref().unwrap();
        assert_eq!(firmware.board, board, "{profile}");
        let sizes = row(&table, board);
        assert_eq!(sizes.model, blob.bytes().len() as u64, "{board}");
        // The arena, and whether it was taken, at its alignment.
        assert_eq!(sizes.arena, planned + 64, "{board}");
        assert!(sizes.program <= target.reserved_flash_bytes, "{board}");
        // What the profile keeps free for the rest of the program is enough
        // for it. The stack of the STM32 lies in another memory.
        let rest = match board {
            "nucleo-h743zi" => sizes.statics,
            _ => sizes.statics + sizes.stack,
        };
        assert!(rest + 64 <= target.reserved_ram_bytes, "{board}: {rest}");
    }
}

fn size_table(model: &Path) -> String {
    let mut size = script("firmware/size");
    printed(size.arg(model).args(BOARDS.map(|(board, _)| board)))
}

fn row(table: &str, board: &str) -> Sizes {
    let start = format!("| `{board}` |");
    let row = table.lines().find_map(|line| line.strip_prefix(&start));
    let numbers = row.unwrap_or_else(|| panic!("no {board} in {table}"));
    let mut numbers = numbers
        .split_terminator('|')
        .map(|number| number.trim().parse().unwrap());
    let mut next = || numbers.next().unwrap();
    Sizes {
        program: next(),
        model: next(),
        arena: next(),
        statics: next(),
        stack: next(),
    }
}
