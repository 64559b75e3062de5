//! `briquette device`: talk with a device on a serial line.

mod bench;
mod info;
mod sign;
mod talk;
mod update;

use std::time::Duration;

use briquette_protocol::Work;

use super::CommandError;
use crate::device::{Client, Line, Patience, Port};

pub(crate) use talk::{TalkArgs, talk};

/// Talks with a device that runs Briquette's firmware.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette device info  --port /dev/ttyACM0
  briquette device chat  --port /dev/ttyACM0
  briquette device chat  --port COM3 -p \"pump 17 max 12 alarms ?\" --json
  briquette device bench --port tcp:localhost:4444
  briquette device update new.briq --key device.key --port /dev/ttyACM0

PORT is a serial port, tcp:HOST:PORT or unix:PATH. `briquette flash` puts a
model on a device.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Let the device answer, or chat with it
    Chat(ChatArgs),
    /// Show who the device is, what its model takes and what it has spent
    Info(info::Args),
    /// Measure the device's speed and the bytes it touches
    Bench(bench::Args),
    /// Send the device a new model
    Update(update::Args),
    /// Make a pair of keys to sign updates with
    Keygen(sign::KeygenArgs),
    /// Sign a briquette, to send it from somewhere else
    Sign(sign::SignArgs),
}

/// Where a device is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Connection {
    /// The device's line: a serial port, tcp:HOST:PORT or unix:PATH
    #[arg(long, value_name = "PORT")]
    port: Port,
    /// Bits per second, for serial ports
    #[arg(long, default_value_t = 115_200, value_name = "N")]
    baud: u32,
    #[command(flatten)]
    patience: PatienceArgs,
}

/// How long to wait.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PatienceArgs {
    /// Seconds of silence after which a device counts as gone [default: 5 until it has said who it is, then 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f32>,
}

impl PatienceArgs {
    /// How long to wait: unless an option says otherwise, as long as `hello` for the
    /// device to say who it is.
    pub(crate) fn patience(&self, hello: Duration) -> Patience {
        match self.timeout.map(Duration::from_secs_f32) {
            Some(patience) => Patience {
                hello: patience,
                work: patience,
            },
            None => Patience {
                hello,
                ..Patience::default()
            },
        }
    }
}

/// A time that makes sense.
fn seconds(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds, from 0.1 to 86400".into()),
    }
}

/// Lets the device answer a prompt, or chats when there is none and this is a
/// terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette device chat --port /dev/ttyACM0     (an empty line or Ctrl-D ends it)
  briquette device chat --port /dev/ttyACM0 -p \"pump 17 max 12 alarms ?\" --guarantee
  echo \"fan 9 max 8 alarms ?\" | briquette device chat --port unix:/tmp/board --json

What stands between <think> and </think> goes to stderr, the answer to stdout.
Ctrl-C stops an answer. Every prompt is answered by itself: a device keeps no
conversation.")]
struct ChatArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    talk: TalkArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    match &args.verb {
        Verb::Chat(args) => talk(&mut args.connection.open()?, &args.talk),
        Verb::Info(args) => info::run(args),
        Verb::Bench(args) => bench::run(args),
        Verb::Update(args) => update::run(args),
        Verb::Keygen(args) => sign::keygen(args),
        Verb::Sign(args) => sign::sign(args),
    }
}

impl Connection {
    /// Opens the line and asks the device who it is.
    fn open(&self) -> Result<Client, CommandError> {
        let line = Line::open(&self.port, self.baud)?;
        let patience = self.patience.patience(Patience::default().hello);
        Ok(Client::connect(line, patience)?)
    }
}

/// The time that `work` took by the device's clock, if it has one.
fn seconds_of(work: Work, ticks_per_second: u32) -> Option<f64> {
    (ticks_per_second > 0 && work.ticks > 0)
        .then(|| work.ticks as f64 / f64::from(ticks_per_second))
}
