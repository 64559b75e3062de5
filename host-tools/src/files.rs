//! Files that appear complete or not at all.

use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// The folder that `path` is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A temporary file beside `path`, to become it later.
///
/// # Errors
/// If the folder does not let one be made.
pub fn partial(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".briquette-")
        .suffix(".partial")
        .tempfile_in(folder_of(path))
}

/// Gives a complete temporary file its name, after it has reached the disk.
///
/// # Errors
/// If the disk is full or the file cannot be renamed; `path` is then as it
/// was before.
pub fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    set_ordinary_permissions(file.path())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes a whole file, or leaves what was there.
///
/// # Errors
/// As [`partial`] and [`keep`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = partial(path)?;
    file.write_all(bytes)?;
    keep(file, path)
}

/// Temporary files are private; ours are as readable as any other file.
#[cfg(unix)]
fn set_ordinary_permissions(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_ordinary_permissions(_path: &Path) -> io::Result<()> {
    Ok(())
}
