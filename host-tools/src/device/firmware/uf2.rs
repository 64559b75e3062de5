//! Programs as UF2 files, for boards that show up as a USB drive.
//!
//! The format is Microsoft's (<https://github.com/microsoft/uf2>): blocks of 512
//! bytes, each with 256 bytes of flash and where they go.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use object::LittleEndian;
use object::elf::{FileHeader32, PT_LOAD};
use object::read::elf::{ElfFile, ProgramHeader};

use super::Program;
use crate::support::files;

/// Bytes of a block.
const BLOCK: usize = 512;
/// Bytes of flash in a block.
const PAGE: usize = 256;
/// Bytes that a boot loader erases at a time. It does so when it gets to the
/// first of them, so all pages of a sector must be there.
const SECTOR: u32 = 4096;

const FIRST_MAGIC: u32 = 0x0A32_4655;
const SECOND_MAGIC: u32 = 0x9E5D_5157;
const LAST_MAGIC: u32 = 0x0AB1_6F30;
/// The family is there, in the place of a file's size.
const FAMILY_PRESENT: u32 = 0x2000;
/// There are tags after the page.
const EXTENSIONS_PRESENT: u32 = 0x8000;
/// The tag of a block that is not meant for flash.
const IGNORE_BLOCK: u32 = 0x9957_E304;

/// The family of what goes to an address, whatever partitions there are.
const ABSOLUTE: u32 = 0xE48B_FF57;
/// The families of the RP2350: Arm secure, RISC-V, Arm not secure.
const RP2350: RangeInclusive<u32> = 0xE48B_FF59..=0xE48B_FF5B;

/// Why a UF2 file could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Uf2Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The program is not one.
    #[error("{} is not a program for a 32-bit board", path.display())]
    Program {
        /// The file.
        path: PathBuf,
    },
}

/// Pages of flash, by their addresses.
type Pages = BTreeMap<u32, [u8; PAGE]>;

impl Program {
    /// Writes the program to `path` as a UF2 file for chips of `family`.
    ///
    /// # Errors
    /// If the program cannot be read, or the file not written.
    pub fn write_uf2(&self, family: u32, path: &Path) -> Result<(), Uf2Error> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Uf2Error::Io { path, source }
        };
        let elf = fs::read(&self.elf).map_err(io(&self.elf))?;
        let pages = pages(&elf).ok_or_else(|| Uf2Error::Program {
            path: self.elf.clone(),
        })?;
        files::write_whole(path, &blocks(&pages, family)).map_err(io(path))
    }
}

/// What a program puts into flash, in whole sectors.
fn pages(elf: &[u8]) -> Option<Pages> {
    let file = ElfFile::<FileHeader32<LittleEndian>>::parse(elf).ok()?;
    let mut pages = Pages::new();
    for segment in file.elf_program_headers() {
        if segment.p_type(LittleEndian) != PT_LOAD {
            continue;
        }
        let bytes = segment.data(LittleEndian, elf).ok()?;
        for (address, byte) in (segment.p_paddr(LittleEndian)..).zip(bytes) {
            let start = address - address % PAGE as u32;
            let page = pages.entry(start).or_insert([0; PAGE]);
            page[(address - start) as usize] = *byte;
        }
    }
    let sectors: Vec<u32> = pages.keys().map(|page| page - page % SECTOR).collect();
    for sector in sectors {
        for page in (sector..=sector + (SECTOR - PAGE as u32)).step_by(PAGE) {
            pages.entry(page).or_insert([0; PAGE]);
        }
    }
    Some(pages)
}

/// The file of `pages` for chips of `family`.
fn blocks(pages: &Pages, family: u32) -> Vec<u8> {
    let mut file = Vec::with_capacity((pages.len() + 1) * BLOCK);
    if RP2350.contains(&family) {
        file.extend(absolute_block());
    }
    for (number, (address, page)) in pages.iter().enumerate() {
        let (number, count) = (number as u32, pages.len() as u32);
        let head = [FAMILY_PRESENT, *address, PAGE as u32, number, count, family];
        file.extend(block(head, page, 0));
    }
    file
}

/// What the boot ROM of an RP2350 of revision A2 must see first, or it may refuse
/// what follows when there is a partition table: the erratum RP2350-E10 in the
/// chip's datasheet. It belongs to another family and file, lies at the end of the
/// flash that could be there, and its tag tells other readers to ignore it; as
/// `picotool uf2 convert --abs-block` writes it.
fn absolute_block() -> [u8; BLOCK] {
    let flags = FAMILY_PRESENT | EXTENSIONS_PRESENT;
    let head = [flags, 0x10FF_FF00, PAGE as u32, 0, 2, ABSOLUTE];
    block(head, &[0xEF; PAGE], IGNORE_BLOCK)
}

/// A block with what is between its magic numbers: flags, address, bytes, number,
/// count, family; the page, and what follows it.
fn block(head: [u32; 6], page: &[u8; PAGE], extension: u32) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let words = [FIRST_MAGIC, SECOND_MAGIC].into_iter().chain(head);
    for (place, word) in block.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    block[32..32 + PAGE].copy_from_slice(page);
    block[32 + PAGE..36 + PAGE].copy_from_slice(&extension.to_le_bytes());
    block[BLOCK - 4..].copy_from_slice(&LAST_MAGIC.to_le_bytes());
    block
}
