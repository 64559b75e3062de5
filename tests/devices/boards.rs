//! Programs for real boards build around a briquette and fit. Nothing here can
//! run them.

use std::path::{Path, PathBuf};

use briquette::device::firmware::Program;
use briquette::pack::{Target, WeightFormat};
use briquette_engine::quant::KvFormat;
use briquette_tests::{Packed, printed, repository, script};

use crate::program::{self, build_alone};

/// Boards of `firmware/boards` and their target profiles.
const BOARDS: [(&str, &str); 2] = [
    ("raspberry-pi-pico-2", "rp2350"),
    ("nucleo-h743zi", "stm32h743"),
];

/// The numbers in a row of `firmware/scripts/size`'s table.
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
    let _alone = build_alone();
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
        check_start(board);
        // What the profile keeps free for the rest of the program is enough
        // for it. The stack of the STM32 lies in another memory.
        let rest = match board {
            "nucleo-h743zi" => sizes.statics,
            _ => sizes.statics + sizes.stack,
        };
        assert!(rest + 64 <= target.reserved_ram_bytes, "{board}: {rest}");
    }
}

/// Whether a board's program has what must come before everything else, as the
/// instructions of the Armv7-M and Armv8-M reference manuals.
fn check_start(board: &str) {
    let (what, code): (_, &[u8]) = match board {
        // movw and movt of r0 with 0x51008108, movs r1, #1, str r1, [r0], dsb.
        "nucleo-h743zi" => (
            "READ_ISS_OVERRIDE (ES0392 2.2.9)",
            &[
                0x48, 0xF2, 0x08, 0x10, 0xC5, 0xF2, 0x00, 0x10, 0x01, 0x21, 0x01, 0x60, 0xBF, 0xF3,
                0x4F, 0x8F,
            ],
        ),
        // msr MSPLIM, r0.
        _ => ("the stack's limit", &[0x80, 0xF3, 0x0A, 0x88]),
    };
    let target = match board {
        "nucleo-h743zi" => "thumbv7em-none-eabihf",
        _ => "thumbv8m.main-none-eabihf",
    };
    let program = format!("firmware/target/{target}/release/{board}");
    let program = std::fs::read(repository().join(program)).unwrap();
    let found = program.windows(code.len()).any(|window| window == code);
    assert!(found, "{board}: {what} is not set");
}

fn size_table(model: &Path) -> String {
    let mut size = script("firmware/scripts/size");
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

/// Blocks as the format's specification has them, put together again.
#[test]
fn a_uf2_file_has_the_program_and_the_model() {
    let sentry = repository().join("models/sentry");
    let packed = Packed::with_context(&sentry, WeightFormat::Q4, KvFormat::Q8, 128);
    let mut build = script("firmware/scripts/build");
    let built = program::Program::build(build.arg("raspberry-pi-pico-2").arg(packed.path()));
    let program = Program {
        elf: built.elf.clone(),
        log_reader: PathBuf::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sentry.uf2");
    program.write_uf2(0xe48b_ff59, &path).unwrap();

    let file = std::fs::read(&path).unwrap();
    let (blocks, rest) = file.as_chunks::<512>();
    assert!(rest.is_empty());
    let [first, blocks @ ..] = blocks else {
        panic!("there are no blocks");
    };
    check_absolute_block(first);
    let mut flash = vec![0xFF; 4 << 20];
    for (number, block) in blocks.iter().enumerate() {
        let word = |at| u32::from_le_bytes(*block[at..].first_chunk().unwrap());
        assert_eq!(
            [word(0), word(4), word(508)],
            [0x0A32_4655, 0x9E5D_5157, 0x0AB1_6F30]
        );
        assert_eq!([word(8), word(16), word(28)], [0x2000, 256, 0xe48b_ff59]);
        assert_eq!([word(20), word(24)], [number as u32, blocks.len() as u32]);
        assert_eq!(word(12) % 256, 0);
        let address = (word(12) - 0x1000_0000) as usize;
        flash[address..address + 256].copy_from_slice(&block[32..288]);
    }
    // Where the core starts: its stack and its first instruction.
    let word = |at: usize| u32::from_le_bytes(*flash[at..].first_chunk().unwrap());
    assert_eq!(word(0), 0x2000_A000);
    assert!((0x1000_0000..0x1040_0000).contains(&word(4)) && word(4) % 2 == 1);
    let blob = packed.file.blob().unwrap().bytes();
    let aligned = (0..flash.len()).step_by(64);
    assert!(
        aligned
            .map(|at| &flash[at..])
            .any(|flash| flash.starts_with(blob))
    );
}

/// The workaround of RP2350-E10, with the numbers of picotool 2.3
/// (`elf2uf2/elf2uf2.cpp`, `gen_abs_block`, and `boot/uf2.h`).
fn check_absolute_block(block: &[u8; 512]) {
    let word = |at| u32::from_le_bytes(*block[at..].first_chunk().unwrap());
    assert_eq!(
        [word(0), word(4), word(508)],
        [0x0A32_4655, 0x9E5D_5157, 0x0AB1_6F30]
    );
    // A family and a tag, at the end of 16 MB, block 0 of 2, family `absolute`.
    assert_eq!(
        [word(8), word(12), word(16)],
        [0x2000 | 0x8000, 0x10FF_FF00, 256]
    );
    assert_eq!([word(20), word(24), word(28)], [0, 2, 0xE48B_FF57]);
    assert_eq!(block[32..288], [0xEF; 256]);
    assert_eq!(word(288), 0x9957_E304);
    assert_eq!(block[292..508], [0; 216]);
}
