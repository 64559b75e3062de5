//! Keys that updates are signed with.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};

use super::UpdateError;

/// Makes a new key: the secret one at `secret`, readable by its owner alone, the
/// public one at `public`.
///
/// # Errors
/// If one of the files exists or cannot be written.
pub fn generate(secret: &Path, public: &Path) -> Result<SigningKey, UpdateError> {
    let io_error = |path: &Path, source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => UpdateError::KeyExists {
            path: path.to_owned(),
        },
        _ => UpdateError::Io {
            path: path.to_owned(),
            source,
        },
    };
    if public.exists() {
        return Err(io_error(public, io::ErrorKind::AlreadyExists.into()));
    }
    let mut seed = [0; 32];
    let random = getrandom::fill(&mut seed);
    random.map_err(|error| io_error(secret, io::Error::other(error)))?;
    let key = SigningKey::from_bytes(&seed);
    // Without the public half, which not every reader of such files accepts.
    let pair = KeypairBytes {
        secret_key: seed,
        public_key: None,
    };
    let pem = pair.to_pkcs8_pem(LineEnding::LF);
    let pem = pem.map_err(|error| io_error(secret, io::Error::other(error.to_string())))?;
    write_new(secret, pem.as_bytes(), 0o600).map_err(|error| io_error(secret, error))?;
    let pem = key.verifying_key().to_public_key_pem(LineEnding::LF);
    let pem = pem.map_err(|error| io_error(public, io::Error::other(error.to_string())))?;
    write_new(public, pem.as_bytes(), 0o644).map_err(|error| io_error(public, error))?;
    Ok(key)
}

/// Reads a secret key.
///
/// # Errors
/// If there is none.
pub fn read_secret(path: &Path) -> Result<SigningKey, UpdateError> {
    let pem = fs::read_to_string(path).map_err(|source| UpdateError::Io {
        path: path.to_owned(),
        source,
    })?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| UpdateError::NoKey {
        path: path.to_owned(),
    })
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
