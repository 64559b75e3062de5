//! Bytes to and from a device, over whatever carries them.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serialport::SerialPort;

use super::DeviceError;

/// The longest that one look at the line takes.
const LOOK: Duration = Duration::from_millis(50);
/// How long a device may keep us from sending, by default.
const WRITE: Duration = Duration::from_secs(10);
/// How often the system is asked whether everything was sent.
const DRAIN: Duration = Duration::from_millis(1);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Where a device is: `/dev/ttyACM0`, `COM3`, `tcp:HOST:PORT`, `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// A serial port of this machine.
    Serial(String),
    /// A TCP address.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("unix: needs a path, as in unix:/tmp/board".into());
            }
            return Ok(Self::Unix(path.into()));
        }
        if let Some(address) = text.strip_prefix("tcp:") {
            let parts = address.rsplit_once(':');
            let sound =
                |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
            if !parts.is_some_and(sound) {
                return Err("tcp: needs a host and a port, as in tcp:localhost:4444".into());
            }
            return Ok(Self::Tcp(address.into()));
        }
        if text.is_empty() {
            return Err("a port, as in /dev/ttyACM0, tcp:localhost:4444 or unix:/tmp/board".into());
        }
        Ok(Self::Serial(text.into()))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(name) => f.write_str(name),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What carries bytes both ways. Reading and writing give up after [`LOOK`].
trait Carrier: Read + Write + Send {
    /// Bytes that were written and wait to be sent, as far as the system tells.
    fn unsent(&self) -> u32 {
        0
    }
}

impl Carrier for TcpStream {}

#[cfg(unix)]
impl Carrier for UnixStream {}

impl Carrier for Box<dyn SerialPort> {
    fn unsent(&self) -> u32 {
        self.bytes_to_write().unwrap_or(0)
    }
}

/// An open line.
pub struct Line {
    carrier: Box<dyn Carrier>,
    port: String,
    /// How long the other side may take no bytes.
    patience: Duration,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Line {
    /// Opens `port`; `baud` matters to serial ports only.
    ///
    /// # Errors
    /// If it cannot be opened: with what to do about it.
    pub fn open(port: &Port, baud: u32) -> Result<Self, DeviceError> {
        let name = port.to_string();
        let carrier: Box<dyn Carrier> = match port {
            Port::Serial(path) => Box::new(open_serial(path, baud)?),
            Port::Tcp(address) => {
                let stream = connect(address).map_err(|e| open_error(&name, &e))?;
                return Self::from_tcp(stream, name);
            }
            #[cfg(unix)]
            Port::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(|e| open_error(&name, &e))?;
                return Self::from_unix(stream, name);
            }
            #[cfg(not(unix))]
            Port::Unix(_) => {
                let error = io::Error::from(ErrorKind::Unsupported);
                return Err(open_error(&name, &error));
            }
        };
        Ok(Self::over(carrier, name))
    }

    /// The line at the other end of a connected socket.
    ///
    /// # Errors
    /// If the socket cannot be set up.
    #[cfg(unix)]
    pub fn from_unix(stream: UnixStream, port: String) -> Result<Self, DeviceError> {
        let limits = stream
            .set_read_timeout(Some(LOOK))
            .and_then(|()| stream.set_write_timeout(Some(LOOK)));
        limits.map_err(|error| open_error(&port, &error))?;
        Ok(Self::over(Box::new(stream), port))
    }

    /// The line at the other end of a TCP connection.
    ///
    /// # Errors
    /// If the connection cannot be set up.
    pub fn from_tcp(stream: TcpStream, port: String) -> Result<Self, DeviceError> {
        let limits = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(LOOK)))
            .and_then(|()| stream.set_write_timeout(Some(LOOK)));
        limits.map_err(|error| open_error(&port, &error))?;
        Ok(Self::over(Box::new(stream), port))
    }

    fn over(carrier: Box<dyn Carrier>, port: String) -> Self {
        Self {
            carrier,
            port,
            patience: WRITE,
        }
    }

    /// Sets how long the other side may refuse bytes from now on.
    pub(super) const fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The port's name.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Bytes that have arrived; none if there are none for a moment.
    ///
    /// # Errors
    /// If the line is closed or fails.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DeviceError> {
        match self.carrier.read(buffer) {
            Ok(0) => Err(self.gone()),
            Ok(count) => Ok(count),
            Err(error) if is_wait(error.kind()) => Ok(0),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// If the line is closed or fails, or the other side takes nothing for
    /// seconds.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), DeviceError> {
        let start = Instant::now();
        while !bytes.is_empty() {
            match self.carrier.write(bytes) {
                Ok(0) => return Err(self.gone()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_wait(error.kind()) && start.elapsed() < self.patience => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        // Not by `flush`: some drivers wait for ever when the device takes nothing.
        while self.carrier.unsent() > 0 {
            if start.elapsed() >= self.patience {
                return Err(self.failed(ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(DRAIN);
        }
        Ok(())
    }

    fn gone(&self) -> DeviceError {
        DeviceError::Gone {
            port: self.port.clone(),
        }
    }

    fn failed(&self, source: io::Error) -> DeviceError {
        let port = self.port.clone();
        // A serial port whose device is pulled out ends with an I/O error.
        let pulled = matches!(
            source.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
        ) || source.raw_os_error() == Some(EIO);
        match source.kind() {
            _ if pulled => DeviceError::Gone { port },
            ErrorKind::TimedOut | ErrorKind::WouldBlock => DeviceError::Stuck {
                port,
                patience: self.patience,
            },
            _ => DeviceError::Line { port, source },
        }
    }
}

/// The number of an I/O error, on all Unix systems.
const EIO: i32 = 5;

/// Whether there is just nothing to read or no room to write at the moment.
const fn is_wait(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted
    )
}

fn open_serial(path: &str, baud: u32) -> Result<Box<dyn SerialPort>, DeviceError> {
    settings(path, baud).open().map_err(|error| {
        let found: Vec<String> = serialport::available_ports()
            .map(|ports| ports.into_iter().map(|port| port.port_name).collect())
            .unwrap_or_default();
        // Ports are files on Unix only.
        let is_there = (cfg!(unix) && Path::new(path).exists())
            || found.iter().any(|name| name.eq_ignore_ascii_case(path));
        serial_error(path, &error, is_there, found)
    })
}

/// Linux raises DTR by itself when a port is opened; Windows does not, and many USB
/// devices send nothing without it.
fn settings(path: &str, baud: u32) -> serialport::SerialPortBuilder {
    serialport::new(path, baud).timeout(LOOK).dtr_on_open(true)
}

/// Why the serial port at `path` cannot be opened, which `is_there` or is not.
fn serial_error(
    path: &str,
    error: &serialport::Error,
    is_there: bool,
    found: Vec<String>,
) -> DeviceError {
    use serialport::ErrorKind as Kind;
    let port = path.to_owned();
    match error.kind() {
        Kind::Io(ErrorKind::PermissionDenied) => DeviceError::Permission { port },
        Kind::Io(ErrorKind::NotFound) | Kind::NoDevice if !is_there => {
            DeviceError::NoPort { port, found }
        }
        // A port that exists but cannot be opened is in use. Windows denies
        // access to it.
        Kind::NoDevice => DeviceError::Busy { port },
        _ => DeviceError::Open {
            port,
            what: error.to_string(),
        },
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn open_error(port: &str, error: &io::Error) -> DeviceError {
    let port = port.to_owned();
    match error.kind() {
        ErrorKind::PermissionDenied => DeviceError::Permission { port },
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => DeviceError::NobodyListens { port },
        _ => DeviceError::Open {
            port,
            what: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_port_is_told_that_somebody_listens() {
        let plain = serialport::new("COM3", 115_200).timeout(LOOK);
        assert_eq!(settings("COM3", 115_200), plain.dtr_on_open(true));
    }

    /// What Windows says of a port that another program has open: access denied,
    /// which serialport gives as no device.
    #[test]
    fn a_port_that_is_there_and_cannot_be_had_is_busy() {
        let denied = serialport::Error::new(serialport::ErrorKind::NoDevice, "Access is denied.");
        let error = serial_error("COM3", &denied, true, vec!["COM3".into()]);
        assert!(matches!(error, DeviceError::Busy { .. }), "{error}");
        assert!(error.to_string().contains("ModemManager"), "{error}");
        let error = serial_error("COM4", &denied, false, vec!["COM3".into()]);
        assert!(error.to_string().contains("found: COM3"), "{error}");
    }

    /// A port that takes bytes and never sends them.
    struct Swallowing;

    impl Read for Swallowing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::TimedOut.into())
        }
    }

    impl Write for Swallowing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            panic!("this would wait for ever")
        }
    }

    impl Carrier for Swallowing {
        fn unsent(&self) -> u32 {
            7
        }
    }

    #[test]
    fn a_device_that_takes_nothing_is_given_up_in_time() {
        let mut line = Line::over(Box::new(Swallowing), "COM3".into());
        line.set_patience(Duration::from_millis(100));
        let start = Instant::now();
        let error = line.write(b"hello").unwrap_err();
        assert!(matches!(error, DeviceError::Stuck { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn ports_are_read_as_people_write_them() {
        for text in [
            "/dev/ttyACM0",
            "COM3",
            "tcp:localhost:4444",
            "unix:/tmp/board",
        ] {
            let port: Port = text.parse().unwrap();
            assert_eq!(port.to_string(), text);
        }
        for text in [
            "",
            "tcp:",
            "tcp:localhost",
            "tcp::1",
            "tcp:host:99999",
            "unix:",
        ] {
            assert!(text.parse::<Port>().is_err(), "{text}");
        }
    }
}
