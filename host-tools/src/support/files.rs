//! Files that appear complete or not at all, and destroy nothing.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use same_file::is_same_file;
use tempfile::NamedTempFile;

/// Why a file cannot be written where somebody wants it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// A name that means standard output elsewhere.
    #[error("`-` is no place for this output, which cannot go to standard output: name a file")]
    StandardOutput,
    /// A folder has this name.
    #[error("{path} is a folder; name a file in it", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A device, a pipe or a socket has this name.
    #[error("{path} is no ordinary file and would be replaced by one; choose another name", path = path.display())]
    Special {
        /// Its path.
        path: PathBuf,
    },
    /// The folder is missing.
    #[error("{path}: there is no folder {folder}", path = path.display(), folder = folder.display())]
    NoFolder {
        /// The output.
        path: PathBuf,
        /// The folder that is not there.
        folder: PathBuf,
    },
    /// Writing would destroy what is read.
    #[error("{path} is what is read ({input}), and would be overwritten; choose another name", path = path.display(), input = input.display())]
    Input {
        /// The output.
        path: PathBuf,
        /// The file that it is, or is part of.
        input: PathBuf,
    },
    /// The system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The output.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Folders below a checkpoint's that may hold files of it.
const DEPTH: usize = 4;

/// Makes sure, before any work, that a file can be written to `path`: what is
/// there now is an ordinary file or nothing. Returns where the file will be:
/// the end of a chain of symbolic links.
///
/// # Errors
/// If not, or if `path` is `-`.
pub fn check_output(path: &Path) -> Result<PathBuf, OutputError> {
    if path == Path::new("-") {
        return Err(OutputError::StandardOutput);
    }
    let fail = |source| OutputError::Io {
        path: path.to_owned(),
        source,
    };
    let end = end_of_links(path).map_err(fail)?;
    match fs::metadata(&end) {
        Ok(found) if found.is_file() => Ok(end),
        Ok(found) if found.is_dir() => Err(OutputError::Folder {
            path: path.to_owned(),
        }),
        Ok(_) => Err(OutputError::Special {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder_of(&end);
            if folder.is_dir() {
                Ok(end)
            } else {
                Err(OutputError::NoFolder {
                    path: path.to_owned(),
                    folder: folder.to_owned(),
                })
            }
        }
        Err(error) => Err(fail(error)),
    }
}

/// As [`check_output`], and that `path` is none of `inputs` or of the files in
/// an input that is a folder, under whatever name.
///
/// # Errors
/// If it is.
pub fn check_output_beside(path: &Path, inputs: &[&Path]) -> Result<PathBuf, OutputError> {
    let end = check_output(path)?;
    if let Some(input) = inputs.iter().find_map(|input| part_of(&end, input, DEPTH)) {
        return Err(OutputError::Input {
            path: path.to_owned(),
            input,
        });
    }
    Ok(end)
}

/// The file that `path` is: `input`, or one in it if it is a folder.
fn part_of(path: &Path, input: &Path, depth: usize) -> Option<PathBuf> {
    let found = fs::metadata(input).ok()?;
    if found.is_file() {
        // What is not there yet is no other file.
        let is_same = is_same_file(path, input).unwrap_or(false);
        return is_same.then(|| input.to_owned());
    }
    if !found.is_dir() || depth == 0 {
        return None;
    }
    let entries = fs::read_dir(input).ok()?.flatten();
    // A briquette that was packed into its source's folder is no part of it.
    let is_source = |path: &PathBuf| path.extension().is_none_or(|name| name != "briq");
    entries
        .map(|entry| entry.path())
        .filter(is_source)
        .find_map(|entry| part_of(path, &entry, depth - 1))
}

/// Where the symbolic links end that begin at `path`.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut end = path.to_owned();
    // As many as Linux follows.
    for _ in 0..40 {
        match fs::symlink_metadata(&end) {
            Ok(found) if found.is_symlink() => {
                let next = fs::read_link(&end)?;
                end = folder_of(&end).join(next);
            }
            _ => return Ok(end),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

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
/// If the folder does not let one be made, or `path` is no place for a file.
pub fn partial(path: &Path) -> io::Result<NamedTempFile> {
    let end = check_output(path).map_err(io::Error::other)?;
    tempfile::Builder::new()
        .prefix(".briquette-")
        .suffix(".partial")
        .tempfile_in(folder_of(&end))
}

/// Gives a complete temporary file its name, after it has reached the disk.
///
/// # Errors
/// If the disk is full or the file cannot be renamed; `path` is then as it
/// was before.
pub fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    let end = check_output(path).map_err(io::Error::other)?;
    file.as_file().sync_all()?;
    // Temporary files are private; ours are as readable as what was there, or
    // as any other file.
    match fs::metadata(&end) {
        Ok(before) => fs::set_permissions(file.path(), before.permissions())?,
        Err(_) => set_ordinary_permissions(file.path())?,
    }
    file.persist(&end).map_err(|error| error.error)?;
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

#[cfg(unix)]
fn set_ordinary_permissions(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_ordinary_permissions(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_ordinary_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (name, what) in [
            ("socket", "ordinary file"),
            ("nowhere/x", "no folder"),
            ("", "folder"),
            ("/dev/full", "ordinary file"),
        ] {
            let error = check_output(&path(name)).unwrap_err().to_string();
            assert!(error.contains(what), "{name}: {error}");
            assert!(write_whole(&path(name), b"x").is_err(), "{name}");
        }
        assert!(check_output(Path::new("-")).is_err());
        assert!(!fs::metadata(path("socket")).unwrap().is_file());
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "before").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("link", path("second")).unwrap();
        symlink("new", path("dangling")).unwrap();
        symlink("circle", path("circle")).unwrap();
        write_whole(&path("second"), b"after").unwrap();
        write_whole(&path("dangling"), b"new").unwrap();
        assert_eq!(fs::read(path("file")).unwrap(), b"after");
        assert_eq!(fs::read(path("new")).unwrap(), b"new");
        for link in ["link", "second", "dangling"] {
            assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink());
        }
        assert!(write_whole(&path("circle"), b"x").is_err());
    }

    #[test]
    fn what_is_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("model/part")).unwrap();
        for name in ["model/a", "model/part/b", "model/m.briq", "other"] {
            fs::write(path(name), name).unwrap();
        }
        symlink(path("model/a"), path("link")).unwrap();
        fs::hard_link(path("model/part/b"), path("hard")).unwrap();
        let check = |output: &str, input: &str| check_output_beside(&path(output), &[&path(input)]);
        for output in [
            "model/a",
            "model/part/b",
            "link",
            "hard",
            "model/../model/a",
        ] {
            let error = check(output, "model").unwrap_err().to_string();
            assert!(error.contains("overwritten"), "{output}: {error}");
        }
        assert!(check("link", "model/a").is_err() && check("model/a", "link").is_err());
        for output in ["other", "new", "model/m.briq", "model/new.briq"] {
            check(output, "model").unwrap();
        }
        check("other", "nowhere").unwrap();
    }
}
