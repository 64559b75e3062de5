//! Saving and restoring a session's cache.

use super::{Session, Team};
use crate::digest::CRC;
use crate::execute::snapshot::{
    CHECKED, HEADER_LEN, MAGIC, Shape, SnapshotError, SnapshotTokens, VERSION,
};

impl<T: Team> Session<'_, T> {
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
        let cached_layers = self.cached_layers();
        self.refill(count, |cache| {
            // Without rows of the layer that drafts, drafts are worse.
            for layer in shape.layers as usize..cached_layers {
                cache.rows_mut(layer, count).fill(0);
            }
            let layer_bytes = shape.row_bytes as usize * count;
            // A session that does not draft leaves out that layer's rows.
            let layers = rows.chunks(layer_bytes.max(1)).take(cached_layers);
            for (layer, rows) in layers.enumerate() {
                let room = cache.rows_mut(layer, count);
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

    /// Whether a snapshot may have that many layers: with the one that drafts or
    /// without it, whatever this session has.
    fn may_hold(&self, layers: u32) -> bool {
        let manifest = self.blob().manifest();
        let own = manifest.config.num_hidden_layers;
        layers == own || layers as usize == manifest.layers.len()
    }

    fn shape(&self, tokens: usize) -> Shape {
        Shape {
            kv: self.options().kv as u8,
            tokens: tokens as u32,
            row_bytes: self.cache().layout().row_bytes as u32,
            layers: self.cached_layers() as u32,
            model: self.blob().digest(),
        }
    }

    /// The first `count` rows of each layer.
    fn cached_rows(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let layers = self.cached_layers();
        (0..layers).map(move |layer| self.cache().rows(layer, count))
    }
}
