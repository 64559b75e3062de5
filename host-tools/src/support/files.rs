//! Files that appear complete or not at all, and destroy nothing.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use same_file::is_same_file;
use tempfile::NamedTempFile;

/// A file that cannot be written where somebody wants it.
#[derive(Debug, thiserror::Error)]
#[error("{} {reason}", path.display())]
pub struct OutputError {
    path: PathBuf,
    reason: Reason,
}

/// Why not, to follow the file's name.
#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("is no place for this output, which cannot go to standard output: name a file")]
    StandardOutput,
    #[error("is a folder; name a file in it")]
    Folder,
    /// A device, a pipe or a socket has this name.
    #[error("is no ordinary file and would be replaced by one; choose another name")]
    Special,
    #[error("cannot be written: there is no folder {}", folder.display())]
    NoFolder { folder: PathBuf },
    /// The output is a file that is read, or part of what is read.
    #[error("is what is read ({}), and would be overwritten; choose another name", input.display())]
    Input { input: PathBuf },
    #[error("cannot be written: {0}")]
    Io(io::Error),
}

impl OutputError {
    /// What is wrong, for messages that name the file themselves.
    fn into_io(self) -> io::Error {
        match self.reason {
            Reason::Io(source) => source,
            reason => io::Error::other(reason),
        }
    }
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
    let refuse = |reason| OutputError {
        path: path.to_owned(),
        reason,
    };
    if path == Path::new("-") {
        return Err(refuse(Reason::StandardOutput));
    }
    let end = end_of_links(path).map_err(|error| refuse(Reason::Io(error)))?;
    match fs::metadata(&end) {
        Ok(found) if found.is_file() => Ok(end),
        Ok(found) if found.is_dir() => Err(refuse(Reason::Folder)),
        Ok(_) => Err(refuse(Reason::Special)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder_of(&end);
            if folder.is_dir() {
                return Ok(end);
            }
            let folder = folder.to_owned();
            Err(refuse(Reason::NoFolder { folder }))
        }
        Err(error) => Err(refuse(Reason::Io(error))),
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
        return Err(OutputError {
            path: path.to_owned(),
            reason: Reason::Input { input },
        });
    }
    Ok(end)
}

/// The file that `path` is: `input`, or one in it if it is a folder.
fn part_of(path: &Path, input: &Path, depth: usize) -> Option<PathBuf> {
    let found = fs::metadata(input).ok()?;
    if found.is_file() {
        // A file that does not exist yet is no other file.
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

/// The end of the chain of symbolic links at `path`.
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

/// A temporary file next to `path`, to be renamed to it later.
///
/// # Errors
/// If the folder does not let one be made, or `path` is no place for a file.
pub fn partial(path: &Path) -> io::Result<NamedTempFile> {
    let end = check_output(path).map_err(OutputError::into_io)?;
    tempfile::Builder::new()
        .prefix(".briquette-")
        .suffix(".partial")
        .make_in(folder_of(&end), create_private)
}

/// A new file for its owner alone. `tempfile` makes such ones too, but names the
/// temporary file in its errors.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Gives a complete temporary file its name, after it has reached the disk.
///
/// # Errors
/// If the disk is full or the file cannot be renamed; `path` is then as it
/// was before.
pub fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    let end = check_output(path).map_err(OutputError::into_io)?;
    file.as_file().sync_all()?;
    // Temporary files are private; the result is as readable as the file before
    // it, or as any other file.
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

    /// Whoever reports an error names the file already.
    #[test]
    fn errors_do_not_name_the_file_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere/x");
        let error = write_whole(&path, b"x").unwrap_err().to_string();
        assert_eq!(error.matches("/x").count(), 0, "{error}");
        // Nobody may make files there, whatever user runs this.
        #[cfg(target_os = "linux")]
        {
            let error = write_whole(Path::new("/proc/x"), b"x").unwrap_err();
            assert!(!error.to_string().contains("/proc"), "{error}");
        }
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
