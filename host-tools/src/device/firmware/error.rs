//! Why a firmware cannot be built or started.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::device::DeviceError;

/// Any failure on the way from a briquette to a running board.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// The sources are not there.
    #[error(
        "the firmware's sources are not {}; run this inside a checkout of Briquette, or say where \
         one is with --repository DIR",
        place.as_ref().map_or_else(|| "here".into(), |place| format!("in {}", place.display()))
    )]
    NoCheckout {
        /// Where they were looked for.
        place: Option<PathBuf>,
    },
    /// A tool is missing.
    #[error("`{tool}` is missing; install it with: {install}")]
    Missing {
        /// The command.
        tool: &'static str,
        /// What installs it.
        install: &'static str,
    },
    /// A tool cannot be started.
    #[error("starting `{tool}`: {source}")]
    Start {
        /// The command.
        tool: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A tool has failed; it has said why.
    #[error("{what} failed ({status}); its messages are above")]
    Failed {
        /// What it was to do.
        what: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// probe-rs has failed; it has said why.
    #[error(
        "{what} failed ({status}); probe-rs's messages are above. Of several debug probes choose \
         one with --probe VID:PID:SERIAL{advice}"
    )]
    Probe {
        /// What it was to do.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What else to try.
        advice: String,
    },
    /// probe-rs does not know which probe is meant.
    #[error(
        "{what} failed: there are {} debug probes, and probe-rs does not know which is meant; \
         choose one with --probe VID:PID:SERIAL, or in the environment with PROBE_RS_PROBE:\n  {}",
        probes.len(),
        probes.join("\n  ")
    )]
    SeveralProbes {
        /// What it was to do.
        what: String,
        /// As probe-rs lists them.
        probes: Vec<String>,
    },
    /// QEMU has ended before the board spoke.
    #[error("QEMU ended before the board could be reached ({status})")]
    Ended {
        /// How it ended.
        status: ExitStatus,
    },
    /// The board's line cannot be made.
    #[error("the board's serial line: {0}")]
    Line(io::Error),
    /// The board's line cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl FirmwareError {
    /// Why `tool` could not be started.
    pub(super) fn start(tool: &'static str, install: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { tool, install },
            _ => Self::Start { tool, source },
        }
    }
}
