//! Loading a briquette without its experts.

use super::{BlockStorage, read};
use crate::EngineError;
use crate::blob::{ALIGNMENT, Blob, BlobError, Contents, HEADER_LEN, Header};

/// Reads the briquette in `storage`, without its experts, into the front of
/// `memory`; returns it and the rest of the memory, which can be the arena.
/// Everything is checked as by [`Blob::open`], but `storage` may be larger than
/// the file. It takes [`Blob::loaded_bytes`].
///
/// # Errors
/// If the storage fails, holds no usable briquette, or `memory` is too small or
/// its address is not a multiple of 64.
pub fn load<'a>(
    storage: &mut dyn BlockStorage,
    memory: &'a mut [u8],
) -> Result<(Blob<'a>, &'a mut [u8]), EngineError> {
    if !memory.as_ptr().addr().is_multiple_of(ALIGNMENT as usize) {
        return Err(EngineError::MisalignedArena {
            needed: ALIGNMENT as usize,
        });
    }
    let start = front(memory, HEADER_LEN as u64)?;
    read(storage, 0, start)?;
    let header = Header::decode_fields(start)?;
    let (needed, got) = (header.file_len().unwrap_or(u64::MAX), storage.capacity());
    if got < needed {
        return Err(BlobError::Truncated { needed, got }.into());
    }
    let start = front(memory, header.payload_offset)?;
    let (_, manifest) = start.split_at_mut(HEADER_LEN);
    read(storage, HEADER_LEN as u64, manifest)?;

    let resident = read_resident(storage, header, memory)?;
    let (file, rest) = memory.split_at_mut(resident);
    Ok((Blob::open_without_experts(file)?, rest))
}

/// Reads what follows the manifest, up to the file's end; returns how many
/// bytes all of the file without its experts has.
fn read_resident(
    storage: &mut dyn BlockStorage,
    header: Header,
    memory: &mut [u8],
) -> Result<usize, EngineError> {
    let got = memory.len() as u64;
    let payload = front(memory, header.payload_offset)?.len();
    let (start, mut rest) = memory.split_at_mut(payload);
    let contents = Contents::new(header, header.manifest(start)?)?;
    let needed = contents.loaded_bytes();
    if got < needed {
        return Err(EngineError::NeedsMemory { needed, got });
    }
    let end = header.file_len().unwrap_or(u64::MAX);
    let mut at = header.payload_offset;
    for (experts, bytes) in contents.experts().chain([(end, 0)]) {
        let run = front(rest, experts.saturating_sub(at))?.len();
        let (run, after) = rest.split_at_mut(run);
        read(storage, at, run)?;
        rest = after;
        at = experts.saturating_add(bytes);
    }
    usize::try_from(needed).map_err(|_| EngineError::PlanTooLarge)
}

/// The first `needed` bytes of `memory`.
fn front(memory: &mut [u8], needed: u64) -> Result<&mut [u8], EngineError> {
    let got = memory.len() as u64;
    usize::try_from(needed)
        .ok()
        .and_then(|bytes| memory.get_mut(..bytes))
        .ok_or(EngineError::NeedsMemory { needed, got })
}
