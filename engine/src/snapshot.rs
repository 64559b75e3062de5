//! A session's cache as bytes: a device wakes with its prompt ready.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `89 42 52 51 53 0d 0a 1a` |
//! | 8 | 2 | version |
//! | 10 | 1 | number format of the cache: 0 `f32`, 1 `f16`, 2 `q8`, … |
//! | 11 | 1 | zero |
//! | 12 | 4 | tokens |
//! | 16 | 4 | bytes of a cached row |
//! | 20 | 4 | layers |
//! | 24 | 32 | digest of the briquette: the last 32 bytes of the file |
//! | 56 | 4 | CRC-32 (ISO-HDLC) of bytes 0..56 and of all that follows the header |
//! | 60 | 4 | zeros |
//!
//! Then the token ids, four bytes each, and the rows of the first layer, of the
//! second, and so on. All numbers are little-endian.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use crate::Session;
use crate::cpu::Team;

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"\x89BRQS\r\n\x1a";

/// Version that this code writes, and the only one that it reads.
pub const VERSION: u16 = 1;

/// Bytes in front of the token ids.
pub const HEADER_LEN: usize = 64;

/// Bytes of the header that its checksum covers.
const CHECKED: usize = 56;

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// Why a snapshot was not made or not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// More tokens than the cache holds.
    #[error("{found} tokens were given, the cache holds {cached}")]
    Tokens {
        /// Tokens given.
        found: usize,
        /// Tokens in the cache.
        cached: usize,
    },
    /// The bytes are something else.
    #[error("not a snapshot of a prompt")]
    BadMagic,
    /// Written by another version.
    #[error("the snapshot has version {found}; this program reads version {known}")]
    Version {
        /// The snapshot's.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// Too few bytes, or too many.
    #[error("the snapshot has {found} bytes, its header promises {expected}")]
    Length {
        /// Bytes handed in.
        found: u64,
        /// Bytes that the header implies.
        expected: u64,
    },
    /// Taken from another briquette.
    #[error("the snapshot belongs to another briquette")]
    OtherModel,
    /// Taken from a cache in another number format.
    #[error("the snapshot holds a cache in another number format")]
    OtherCache,
    /// More tokens than the cache has room for.
    #[error("the snapshot holds {tokens} tokens, the cache has room for {context}")]
    TooLong {
        /// Tokens of the snapshot.
        tokens: u32,
        /// Tokens that fit.
        context: u32,
    },
    /// The cache lies where it cannot be copied from.
    #[error("this executor keeps no snapshots; the one on the processor does")]
    Unsupported,
    /// Some bytes have changed.
    #[error("the snapshot's checksum is wrong: it is damaged")]
    Checksum,
}

/// The token ids of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotTokens<'a>(&'a [[u8; 4]]);

impl<'a> SnapshotTokens<'a> {
    /// The ids, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// A snapshot's shape: what must agree with the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    kv: u8,
    tokens: u32,
    row_bytes: u32,
    layers: u32,
    model: [u8; 32],
}

impl Shape {
    /// The header's bytes, without the checksum.
    fn encode(&self) -> [u8; CHECKED] {
        let mut bytes = [0; CHECKED];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.kv;
        bytes[12..16].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.row_bytes.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.layers.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.model);
        bytes
    }

    /// Bytes of the whole snapshot.
    fn len(&self) -> u64 {
        let row = u64::from(self.row_bytes) * u64::from(self.layers);
        HEADER_LEN as u64 + u64::from(self.tokens).saturating_mul(4 + row)
    }
}

impl<T: Team + Clone + Send> Session<'_, T> {
    /// Bytes of a snapshot of `tokens` tokens.
    pub fn snapshot_len(&self, tokens: usize) -> u64 {
        self.shape(tokens).len()
    }

    /// Hands a snapshot of `tokens` to `write`, piece by piece: all or the
    /// first of those that the session has taken in.
    ///
    /// # Errors
    /// If there are more tokens than in the cache, or `write` fails.
    pub fn save<E: From<SnapshotError>>(
        &self,
        tokens: &[u32],
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if tokens.len() > self.position() {
            return Err(E::from(SnapshotError::Tokens {
                found: tokens.len(),
                cached: self.position(),
            }));
        }
        let header = self.shape(tokens.len()).encode();
        let mut digest = CRC.digest();
        digest.update(&header);
        for token in tokens {
            digest.update(&token.to_le_bytes());
        }
        for rows in self.cached_rows(tokens.len()) {
            digest.update(rows);
        }
        write(&header)?;
        write(&digest.finalize().to_le_bytes())?;
        write(&[0; HEADER_LEN - CHECKED - 4])?;
        for token in tokens {
            write(&token.to_le_bytes())?;
        }
        for rows in self.cached_rows(tokens.len()) {
            write(rows)?;
        }
        Ok(())
    }

    /// Takes a snapshot's tokens in without computing them; what the session
    /// held before is forgotten. Returns the tokens.
    ///
    /// # Errors
    /// If the snapshot is damaged or does not suit the session, which then
    /// stays as it was.
    pub fn restore<'s>(&mut self, snapshot: &'s [u8]) -> Result<SnapshotTokens<'s>, SnapshotError> {
        let (header, rest) = snapshot
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(SnapshotError::BadMagic)?;
        let shape = self.check_header(header, snapshot.len() as u64)?;
        let mut digest = CRC.digest();
        digest.update(&header[..CHECKED]);
        digest.update(rest);
        if header[CHECKED..] != (u64::from(digest.finalize())).to_le_bytes() {
            return Err(SnapshotError::Checksum);
        }
        let count = shape.tokens as usize;
        let (ids, rows) = rest.split_at_checked(4 * count).unwrap_or((rest, &[]));
        self.refill(count, |decoder| {
            // What a snapshot lacks of guessing ahead makes worse guesses.
            for layer in shape.layers as usize..decoder.cached_layers() {
                decoder.cache_mut().rows_mut(layer, count).fill(0);
            }
            let layer_bytes = shape.row_bytes as usize * count;
            for (layer, rows) in rows.chunks(layer_bytes.max(1)).enumerate() {
                let room = decoder.cache_mut().rows_mut(layer, count);
                if room.len() == rows.len() {
                    room.copy_from_slice(rows);
                }
            }
        });
        Ok(SnapshotTokens(ids.as_chunks().0))
    }

    /// What the header says, if it suits this session.
    fn check_header(&self, header: &[u8; HEADER_LEN], found: u64) -> Result<Shape, SnapshotError> {
        if header[..8] != MAGIC {
            return Err(SnapshotError::BadMagic);
        }
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version != VERSION {
            return Err(SnapshotError::Version {
                found: version,
                known: VERSION,
            });
        }
        let [tokens, ..] = header[12..].as_chunks::<4>().0 else {
            return Err(SnapshotError::BadMagic);
        };
        let ours = self.shape(0);
        let layers = header[20..24].as_chunks::<4>().0;
        let layers = layers.first().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let theirs = Shape {
            tokens: u32::from_le_bytes(*tokens),
            layers: if self.may_hold(layers) {
                layers
            } else {
                ours.layers
            },
            ..ours
        };
        if header[24..CHECKED] != ours.model {
            return Err(SnapshotError::OtherModel);
        }
        if header[..CHECKED] != theirs.encode() {
            return Err(SnapshotError::OtherCache);
        }
        if theirs.tokens as usize > self.context() {
            return Err(SnapshotError::TooLong {
                tokens: theirs.tokens,
                context: self.context() as u32,
            });
        }
        if found != theirs.len() {
            return Err(SnapshotError::Length {
                found,
                expected: theirs.len(),
            });
        }
        Ok(theirs)
    }

    /// Whether a snapshot may have so many layers: with the one that guesses ahead
    /// or without it, whatever this session has.
    fn may_hold(&self, layers: u32) -> bool {
        let manifest = self.blob().manifest();
        let own = manifest.config.num_hidden_layers;
        layers == own || layers as usize == manifest.layers.len()
    }

    fn shape(&self, tokens: usize) -> Shape {
        Shape {
            kv: self.decoder().kv_format() as u8,
            tokens: tokens as u32,
            row_bytes: self.decoder().cache().layout().row_bytes as u32,
            layers: self.decoder().cached_layers() as u32,
            model: self.blob().digest(),
        }
    }

    /// The first `count` rows of each layer.
    fn cached_rows(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let layers = self.decoder().cached_layers();
        (0..layers).map(move |layer| self.decoder().cache().rows(layer, count))
    }
}
