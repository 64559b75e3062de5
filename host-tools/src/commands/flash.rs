//! `briquette flash`: put a model on a board, and talk with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use briquette_engine::PlanOptions;

use super::CommandError;
use super::device::{PatienceArgs, TalkArgs, talk};
use crate::device::firmware::{Checkout, Emulator, Logs, Probe, Program};
use crate::device::{Client, Line, Patience, Port};
use crate::pack::{Firmware, Fit, Runner, Target};
use crate::run::BriqFile;
use crate::support::{files, terminal};

/// Builds the firmware around a briquette, and runs it in QEMU or flashes it
/// with probe-rs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette flash sentry.briq --target mps2-an500                 (a chat with a board in QEMU)
  briquette flash sentry.briq --target mps2-an500 -p \"fan 9 max 8 alarms ?\"
  briquette flash sentry.briq --target mps2-an500 --listen unix:/tmp/board
  briquette flash sentry.briq --target ./my-board.toml --port /dev/ttyACM0
  briquette flash sentry.briq --target rp2350 --uf2 sentry.uf2     (to be copied to a Pico 2)

A model that does not fit the target is refused before anything is built.
models/targets has a profile for each target; a .toml file of your own works too.
The first build for a board takes minutes; what is built stays in the checkout, in
firmware/target. Ctrl-C ends --logs; with --port, the talk comes then.")]
pub(crate) struct Args {
    /// The briquette
    file: PathBuf,
    /// The device: a name, or a .toml file
    #[arg(long, value_name = "NAME")]
    target: String,
    #[command(flatten)]
    talk: TalkArgs,
    /// Let QEMU's board wait for `briquette device` here: unix:PATH or tcp:HOST:PORT
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["prompt", "json"])]
    listen: Option<Port>,
    /// Where the flashed board's serial line is, to chat with it
    #[arg(long, value_name = "PORT", conflicts_with = "listen")]
    port: Option<Port>,
    /// Bits per second on --port
    #[arg(long, default_value_t = 115_200, value_name = "N")]
    baud: u32,
    /// Write the program as a UF2 file, for boards that show up as a USB drive, and flash nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "port", "prompt", "json"])]
    uf2: Option<PathBuf>,
    #[command(flatten)]
    patience: PatienceArgs,
    /// Show everything that the board logs; what went wrong is always shown
    #[arg(short = 'v', long)]
    logs: bool,
    /// The debug probe of a real board, if there are several: VID:PID or VID:PID:SERIAL, as `probe-rs list` shows them [default: the one in PROBE_RS_PROBE, or the only one]
    #[arg(long, value_name = "SELECTOR", conflicts_with_all = ["listen", "uf2"])]
    probe: Option<String>,
    /// Where the firmware's sources are: a checkout of Briquette [default: the one around this folder, or else the one that this tool was built in]
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,
}

/// A board in QEMU may have to share its machine while it starts.
const EMULATOR_START: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    if let Some(file) = &args.uf2 {
        files::check_output_beside(file, &[&args.file, Path::new(&args.target)])?;
    }
    let target = Target::find(&args.target)?;
    let fit = require_fit(args, &target)?;
    let Some(firmware) = &target.firmware else {
        return Err(CommandError::Refused(format!(
            "there is no firmware for {}: its profile has no [firmware]; on Linux, copy the \
             briquette there and use `briquette run`",
            target.description
        )));
    };
    if let Some(file) = &args.uf2 {
        return write_uf2(args, firmware, fit.expert_slots(), file);
    }
    let program = build(args, firmware, fit.expert_slots())?;
    match &firmware.runner {
        Runner::Qemu(machine) => emulate(args, machine, &program),
        Runner::ProbeRs(chip) => flash(args, firmware, chip, &program),
    }
}

/// Builds the program, after saying where.
fn build(args: &Args, firmware: &Firmware, expert_slots: u64) -> Result<Program, CommandError> {
    let checkout = Checkout::find(args.repository.as_deref())?;
    terminal::tell_line!(
        "building the program for {} in the checkout {}; what is built is kept in {}",
        firmware.board,
        checkout.folder().display(),
        checkout.build_folder().display()
    );
    Ok(checkout.build(firmware, &args.file, expert_slots)?)
}

/// The program as a file, instead of on a board.
fn write_uf2(
    args: &Args,
    firmware: &Firmware,
    expert_slots: u64,
    file: &Path,
) -> Result<(), CommandError> {
    let Some(family) = firmware.uf2_family else {
        return Err(CommandError::Refused(format!(
            "{} takes no UF2 files: its profile has no uf2_family",
            firmware.board
        )));
    };
    let program = build(args, firmware, expert_slots)?;
    program.write_uf2(family, file)?;
    terminal::tell_line!(
        "wrote {}; hold BOOTSEL while the board is plugged in, and copy the file to its drive",
        file.display()
    );
    Ok(())
}

/// Refuses, with the numbers, a model that does not fit.
fn require_fit(args: &Args, target: &Target) -> Result<Fit, CommandError> {
    let file = BriqFile::open(&args.file)?;
    let blob = file.blob()?;
    let manifest = blob.manifest();
    let options = PlanOptions::packed(manifest);
    let fit = target.check(
        &manifest.config,
        manifest.expert_sizes(),
        options,
        blob.bytes().len() as u64,
        None,
    )?;
    terminal::tell_line!("{fit}");
    Ok(fit)
}

fn emulate(args: &Args, machine: &str, program: &Program) -> Result<(), CommandError> {
    if args.port.is_some() || args.probe.is_some() {
        return Err(CommandError::Refused(
            "--port and --probe are for real boards; a board in QEMU can --listen".into(),
        ));
    }
    let logs = if args.logs { Logs::All } else { Logs::Errors };
    if let Some(port) = &args.listen {
        let board = Emulator::listen(machine, program, port, logs)?;
        terminal::tell_line!(
            "{machine} in QEMU waits; talk with it: briquette device chat --port {port}; Ctrl-C ends it"
        );
        return Ok(board.wait()?);
    }
    let (board, line) = Emulator::start(machine, program, logs)?;
    let patience = args.patience.patience(EMULATOR_START);
    let result = Client::connect(line, patience)
        .map_err(CommandError::from)
        .and_then(|mut client| talk(&mut client, &args.talk));
    // Its remaining messages come before our own error.
    drop(board);
    result
}

fn flash(
    args: &Args,
    firmware: &Firmware,
    chip: &str,
    program: &Program,
) -> Result<(), CommandError> {
    if args.listen.is_some() {
        return Err(CommandError::Refused(
            "--listen is for boards in QEMU; a real board has a --port".into(),
        ));
    }
    let probe = Probe {
        chip,
        selector: args.probe.as_deref(),
        takes_uf2: firmware.uf2_family.is_some(),
    };
    probe.flash(program, args.logs)?;
    let Some(port) = &args.port else {
        terminal::tell_line!(
            "{} is flashed; talk with it: briquette device chat --port PORT",
            firmware.board
        );
        return Ok(());
    };
    let line = Line::open(port, args.baud)?;
    let patience = args.patience.patience(Patience::default().hello);
    let mut client = Client::connect(line, patience)?;
    talk(&mut client, &args.talk)
}
