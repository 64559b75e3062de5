//! Programs as UF2 files, which boards take that show up as a USB drive.
//!
//! The format is Microsoft's (<https://github.com/microsoft/uf2>): blocks of 512
//! bytes, each with 256 bytes of flash and where they go.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use object::LittleEndian;
use object::elf::{FileHeader32, PT_LOAD};
use object::read::elf::{ElfFile, ProgramHeader};

use super::Program;
use crate::files;

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

/// Why there is no UF2 file.
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

fn blocks(pages: &Pages, family: u32) -> Vec<u8> {
    let mut file = Vec::with_capacity(pages.len() * 512);
    for (number, (address, page)) in pages.iter().enumerate() {
        let head = [
            FIRST_MAGIC,
            SECOND_MAGIC,
            FAMILY_PRESENT,
            *address,
            PAGE as u32,
            number as u32,
            pages.len() as u32,
            family,
        ];
        file.extend(head.into_iter().flat_map(u32::to_le_bytes));
        file.extend_from_slice(page);
        file.extend_from_slice(&[0; 476 - PAGE]);
        file.extend_from_slice(&LAST_MAGIC.to_le_bytes());
    }
    file
}
