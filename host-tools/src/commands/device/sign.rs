//! `briquette device keygen` and `briquette device sign`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use briquette_engine::PlanOptions;

use super::super::CommandError;
use crate::device::signed::{Update, generate, read_secret};
use crate::pack::Target;
use crate::run::BriqFile;
use crate::support::files;
use crate::support::terminal::bytes;

/// Makes a pair of keys to sign updates with: FILE for you alone, and FILE with
/// the ending `.pub` for the firmware.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  briquette device keygen -o device.key
  BRIQUETTE_UPDATE_KEY=device.pub briquette flash sentry.briq --target mps2-an500

BRIQUETTE_UPDATE_KEY names the public key, from the folder that `briquette flash` or
`bash firmware/scripts/build` is called in. Anyone who has the secret key can change the model of every device whose firmware
has the public one. The files are PEM, as OpenSSL reads and writes them.")]
pub(super) struct KeygenArgs {
    /// Where to write the secret key
    #[arg(short, long, default_value = "device.key", value_name = "FILE")]
    out: PathBuf,
}

/// Signs a briquette where the key is, to be sent from somewhere else.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  briquette device sign sentry.briq --key device.key --target rp2350 --version 7 -o sentry.update
  briquette device update sentry.update --port /dev/ttyACM0

A model that does not fit the target is refused. A board of your own is named by its
profile: --target ./my-board.toml signs for `my-board`, which its firmware must
call itself.")]
pub(super) struct SignArgs {
    /// The briquette
    file: PathBuf,
    /// The secret key
    #[arg(long, value_name = "SECRET.key")]
    key: PathBuf,
    /// The only target that may take it, a name or a .toml file [default: any]
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// The model's version; a device goes to no lower one
    #[arg(
        long,
        default_value_t = 0,
        value_name = "N",
        allow_negative_numbers = true
    )]
    version: u32,
    /// Where to write the update
    #[arg(short, long, value_name = "OUT.update")]
    out: PathBuf,
}

pub(super) fn keygen(args: &KeygenArgs) -> Result<(), CommandError> {
    let public = args.out.with_extension("pub");
    if public == args.out {
        let what = "the secret key's file must not end in .pub: that is the public one's";
        return Err(CommandError::Refused(what.into()));
    }
    for file in [&args.out, &public] {
        files::check_output(file)?;
    }
    generate(&args.out, &public)?;
    writeln!(
        io::stdout(),
        "{}: secret; keep it where devices cannot lose it\n{}: public; build firmware with \
         BRIQUETTE_UPDATE_KEY={}",
        args.out.display(),
        public.display(),
        public.display()
    )?;
    Ok(())
}

pub(super) fn sign(args: &SignArgs) -> Result<(), CommandError> {
    files::check_output_beside(&args.out, &[&args.file, &args.key])?;
    let key = read_secret(&args.key)?;
    let target = match &args.target {
        Some(name) => fitting_target(&args.file, name)?,
        None => "",
    };
    let update = Update::sign(&args.file, &key, target, args.version)?;
    update.write(&args.out)?;
    writeln!(
        io::stdout(),
        "{}: version {} for {}, {}",
        args.out.display(),
        args.version,
        if target.is_empty() {
            "any target"
        } else {
            target
        },
        bytes(update.blob.len() as u64)
    )?;
    Ok(())
}

/// The name by which the target called `name` knows itself.
///
/// # Errors
/// If there is none, or the briquette does not fit it.
fn fitting_target<'n>(file: &Path, name: &'n str) -> Result<&'n str, CommandError> {
    let target = Target::find(name)?;
    let file = BriqFile::open(file)?;
    let blob = file.blob()?;
    let manifest = blob.manifest();
    target.check(
        &manifest.config,
        manifest.expert_sizes(),
        PlanOptions::packed(manifest),
        blob.bytes().len() as u64,
        None,
    )?;
    let stem = Path::new(name).file_stem().and_then(OsStr::to_str);
    Ok(match name.strip_suffix(".toml") {
        Some(_) => stem.unwrap_or(name),
        None => name,
    })
}
