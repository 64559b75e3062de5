//! `briquette device update`: a new model for a device in the field.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use briquette_protocol::update::Origin;
use serde_json::json;

use super::super::CommandError;
use super::Connection;
use crate::device::signed::{Update, read_secret};
use crate::device::{Client, DeviceError};
use crate::support::terminal::{self, bytes};

/// Sends a device a new model; the device verifies it, starts it, and keeps the
/// old one until the new one has answered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette device update sentry.briq --key device.key --port /dev/ttyACM0
  briquette device update sentry.update --port /dev/ttyACM0      (signed elsewhere)

The device takes only what was signed with the key whose public half is in its
firmware (BRIQUETTE_UPDATE_KEY when it was built). If anything goes wrong, power
included, the old model keeps running; send the update again.")]
pub(super) struct Args {
    /// The briquette, or what `briquette device sign` made of it
    file: PathBuf,
    #[command(flatten)]
    connection: Connection,
    /// Sign it with this secret key (see `briquette device keygen`)
    #[arg(long, value_name = "SECRET.key")]
    key: Option<PathBuf>,
    /// The model's version; a device goes to no lower one
    #[arg(long, default_value_t = 0, value_name = "N", requires = "key")]
    version: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How long a device may take to start.
const RESTART: Duration = Duration::from_secs(20);
/// Tokens that a new model is tried with.
const TRIAL_TOKENS: u32 = 4;

pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    let start = Instant::now();
    let mut client = args.connection.open()?;
    let target = client.info().target.clone();
    let update = match &args.key {
        Some(key) => Update::sign(&args.file, &read_secret(key)?, &target, args.version)?,
        None => Update::read(&args.file)?,
    };
    let before = client.update_status()?;
    let total = update.blob.len() as u64;
    let bar = terminal::progress(total, "Sending");
    let sent = client.upload(&update, &terminal::interrupted, |count| {
        bar.set_position(count)
    });
    bar.finish_and_clear();
    if !sent? {
        return Err(CommandError::Interrupted);
    }
    drop(client.restart()?);
    let mut client = reopen(&args.connection)?;
    let model = client.info().model.clone();
    try_it(&mut client, &update)?;
    let after = client.update_status()?;
    let mut out = io::stdout().lock();
    if args.json {
        let report = json!({
            "model": model,
            "target": target,
            "bytes": total,
            "version": after.version,
            "version_before": before.version,
            "seconds": start.elapsed().as_secs_f64(),
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(
            out,
            "{model} on {target}: {} sent and verified; version {} answers with the host's bits",
            bytes(total),
            after.version
        )?;
    }
    Ok(())
}

/// Opens the connection again, as soon as the device is back.
fn reopen(connection: &Connection) -> Result<Client, CommandError> {
    let start = Instant::now();
    loop {
        match connection.open() {
            Err(CommandError::Device(
                DeviceError::NoPort { .. }
                | DeviceError::Busy { .. }
                | DeviceError::Gone { .. }
                | DeviceError::Silent { .. },
            )) if start.elapsed() < RESTART && !terminal::interrupted() => {
                std::thread::sleep(Duration::from_millis(200));
            }
            opened => return opened,
        }
    }
}

/// Lets the new model compute a few tokens, which also ends its trial, and
/// compares its logits with those of this machine.
fn try_it(client: &mut Client, update: &Update) -> Result<(), CommandError> {
    let fell_back = || {
        let what = "the new model was verified, but the device started with the old one";
        CommandError::Refused(what.into())
    };
    if client.update_status()?.origin != Origin::Trial {
        return Err(fell_back());
    }
    let ids: Vec<u32> = (0..TRIAL_TOKENS).collect();
    let found = client.score(&ids)?;
    if found != update.digests(&ids)? {
        let what = "the new model runs, but its logits are not this machine's; is the firmware as \
                    new as this tool?";
        return Err(CommandError::Refused(what.into()));
    }
    if client.update_status()?.origin != Origin::Update {
        let what = "the new model has answered, but the device could not write that down; it will \
                    start with the old one";
        return Err(CommandError::Refused(what.into()));
    }
    Ok(())
}
