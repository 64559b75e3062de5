//! Why a device cannot be talked to, and what to do about it.

use std::io;
use std::time::Duration;

use briquette_protocol::{FrameError, Refusal, VERSION};

/// Any failure between host and device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no such port.
    #[error(
        "{port}: there is no such port; is the device plugged in? Serial ports found: {}",
        list(found)
    )]
    NoPort {
        /// What was asked for.
        port: String,
        /// Ports that there are.
        found: Vec<String>,
    },
    /// The port belongs to another user or group.
    #[error(
        "{port}: permission denied; on Linux, join the group that owns the port (often: \
         sudo usermod -aG dialout $USER) and log in again"
    )]
    Permission {
        /// The port.
        port: String,
    },
    /// Another program uses the port.
    #[error(
        "{port}: the port is busy; close the program that uses it (a terminal, probe-rs, another \
         briquette; on Linux often ModemManager, for half a minute after a device was plugged \
         in: wait, or sudo systemctl stop ModemManager)"
    )]
    Busy {
        /// The port.
        port: String,
    },
    /// Nothing is listening there.
    #[error(
        "{port}: nothing listens there; start QEMU first: briquette flash MODEL.briq --target BOARD --listen {port}"
    )]
    NobodyListens {
        /// The address.
        port: String,
    },
    /// Some other failure to open.
    #[error("{port}: {what}")]
    Open {
        /// The port.
        port: String,
        /// What the system said.
        what: String,
    },
    /// The line failed.
    #[error("{port}: {source}")]
    Line {
        /// The port.
        port: String,
        /// What the system said.
        source: io::Error,
    },
    /// The line was closed from the other side.
    #[error("{port}: the device is gone; was it unplugged or reset?")]
    Gone {
        /// The port.
        port: String,
    },
    /// No byte arrived.
    #[error(
        "{port}: silence for {} s; does the device run Briquette's firmware, and is this its \
         serial line? A slow answer needs a longer --timeout",
        patience.as_secs_f32()
    )]
    Silent {
        /// The port.
        port: String,
        /// How long the tool waited.
        patience: Duration,
    },
    /// No byte was accepted.
    #[error(
        "{port}: the device takes no bytes for {} s; does it hang? Unplug it, or reset it; a slow \
         line needs a longer --timeout",
        patience.as_secs_f32()
    )]
    Stuck {
        /// The port.
        port: String,
        /// How long the tool waited.
        patience: Duration,
    },
    /// Bytes arrived that are no message.
    #[error(
        "{port}: {bytes} bytes arrived, but no message of a Briquette device; is this its serial \
         line, and is --baud right? On Linux, ModemManager may be talking to it: wait half a \
         minute"
    )]
    Gibberish {
        /// The port.
        port: String,
        /// How many.
        bytes: u64,
    },
    /// A frame was damaged in the middle of an answer.
    #[error("{port}: {source}; the line loses bytes: try a shorter cable or a lower --baud")]
    Damaged {
        /// The port.
        port: String,
        /// What is wrong with the frame.
        source: FrameError,
    },
    /// The firmware is older or newer than this tool.
    #[error(
        "the device speaks version {theirs} of the protocol, this tool version {VERSION}: {}",
        if *theirs < VERSION { "flash the device again with this tool" } else { "use a newer briquette" }
    )]
    Version {
        /// The device's version.
        theirs: u16,
    },
    /// The device refused.
    #[error("the device refuses: {0}")]
    Refused(#[from] Refusal),
    /// A prompt that no device takes.
    #[error("the prompt has {bytes} bytes; a device takes {most} at most")]
    LongPrompt {
        /// Bytes of the prompt.
        bytes: usize,
        /// Bytes at most.
        most: usize,
    },
}

fn list(ports: &[String]) -> String {
    if ports.is_empty() {
        "none".into()
    } else {
        ports.join(", ")
    }
}

impl DeviceError {
    /// Whether another prompt may be answered.
    pub const fn is_about_the_prompt(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::LongPrompt { .. })
    }
}
