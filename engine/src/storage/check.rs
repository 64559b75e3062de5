//! Reads for a session: that they succeed, and that they are of the right file.

use crate::EngineError;
use crate::blob::{Blob, HEADER_LEN};

use super::BlockStorage;

/// Fills `bytes`, if there are any, with what is stored from `offset` on.
pub(crate) fn read(
    storage: &mut dyn BlockStorage,
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), EngineError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let len = bytes.len() as u64;
    let failed = EngineError::Storage { offset, bytes: len };
    if storage.capacity() < offset.saturating_add(len) {
        return Err(failed);
    }
    storage.read(offset, bytes).map_err(|_| failed)
}

/// Checks that `storage` holds the file of `blob`. The header has the checksum of
/// the manifest, so it tells files apart.
pub(crate) fn check_file(
    storage: &mut dyn BlockStorage,
    blob: &Blob<'_>,
) -> Result<(), EngineError> {
    let mut header = [0; HEADER_LEN];
    read(storage, 0, &mut header)?;
    if blob.bytes().get(..HEADER_LEN) != Some(&header) {
        return Err(EngineError::OtherBriquette);
    }
    Ok(())
}
