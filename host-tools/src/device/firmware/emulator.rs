//! Boards in QEMU.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::logs::{Logs, Shown};
use super::{FirmwareError, Program};
use crate::device::{Line, Port};
use crate::support::terminal;

const TOOL: &str = "qemu-system-arm";
const INSTALL: &str = "sudo apt-get install qemu-system-arm (or your system's QEMU package)";
/// How long QEMU may take to start.
const START: Duration = Duration::from_secs(20);
/// How often it is checked.
const LOOK: Duration = Duration::from_millis(20);

/// A board in QEMU. It ends when this is dropped.
#[derive(Debug)]
pub struct Emulator {
    qemu: Arc<Mutex<Child>>,
    /// Dropped after QEMU has ended.
    _logs: Option<Shown>,
}

impl Emulator {
    /// Starts `program` on `machine`; returns the board and the other end of
    /// its serial line.
    ///
    /// # Errors
    /// If QEMU is missing or ends at once.
    pub fn start(
        machine: &str,
        program: &Program,
        logs: Logs,
    ) -> Result<(Self, Line), FirmwareError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(FirmwareError::Line)?;
        let place = listener.local_addr().map_err(FirmwareError::Line)?;
        let chardev = format!("socket,id=line,host={},port={}", place.ip(), place.port());
        let board = Self::spawn(machine, program, &chardev, logs)?;
        let stream = board.wait_for(&listener)?;
        let line = Line::from_tcp(stream, format!("{machine} in QEMU"))?;
        Ok((board, line))
    }

    /// Starts `program` on `machine` with its serial line at `port`, where
    /// others may come and go.
    ///
    /// # Errors
    /// If QEMU is missing or ends at once, or `port` is a serial port.
    pub fn listen(
        machine: &str,
        program: &Program,
        port: &Port,
        logs: Logs,
    ) -> Result<Self, FirmwareError> {
        let place = match port {
            Port::Unix(path) => format!("path={}", escaped(path)),
            Port::Tcp(address) => {
                let (host, port) = address.rsplit_once(':').unwrap_or_default();
                format!("host={host},port={port}")
            }
            Port::Serial(name) => {
                let what =
                    format!("{name} is no place to listen at; say unix:PATH or tcp:HOST:PORT");
                return Err(FirmwareError::Line(std::io::Error::other(what)));
            }
        };
        let chardev = format!("socket,id=line,{place},server=on,wait=off");
        Self::spawn(machine, program, &chardev, logs)
    }

    fn spawn(
        machine: &str,
        program: &Program,
        chardev: &str,
        logs: Logs,
    ) -> Result<Self, FirmwareError> {
        let mut command = Command::new(TOOL);
        command
            .args(["-machine", machine, "-display", "none", "-monitor", "none"])
            .args(["-chardev", chardev, "-serial", "chardev:line"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .arg("-kernel")
            .arg(&program.elf)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // Ctrl-C is for us: it stops an answer, not the board.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut qemu = command
            .spawn()
            .map_err(|error| FirmwareError::start(TOOL, INSTALL, error))?;
        let frames = qemu.stdout.take();
        let qemu = Arc::new(Mutex::new(qemu));
        let doomed = Arc::clone(&qemu);
        terminal::at_exit(move || end(&doomed));
        let mut board = Self { qemu, _logs: None };
        if let Some(frames) = frames {
            board._logs = Some(logs.show(program, frames)?);
        }
        Ok(board)
    }

    /// The connection that QEMU opens.
    fn wait_for(&self, listener: &TcpListener) -> Result<TcpStream, FirmwareError> {
        listener
            .set_nonblocking(true)
            .map_err(FirmwareError::Line)?;
        let start = Instant::now();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(FirmwareError::Line)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                    return Err(FirmwareError::Line(error));
                }
                Err(_) => {}
            }
            if let Some(status) = self.ended() {
                return Err(FirmwareError::Ended { status });
            }
            if start.elapsed() > START {
                let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
                return Err(FirmwareError::Line(error));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How the board has ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        let mut qemu = self.qemu.lock().unwrap_or_else(PoisonError::into_inner);
        qemu.try_wait().ok().flatten()
    }

    /// Waits until the board ends or the user ends it.
    ///
    /// # Errors
    /// If the board ends by itself.
    pub fn wait(&self) -> Result<(), FirmwareError> {
        while !terminal::interrupted() {
            if let Some(status) = self.ended() {
                return Err(FirmwareError::Ended { status });
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        end(&self.qemu);
    }
}

/// Ends QEMU, and leaves nothing of it behind.
fn end(qemu: &Mutex<Child>) {
    let mut qemu = qemu.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = qemu.kill();
    let _ = qemu.wait();
}

/// A path in QEMU's options, where commas are doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
