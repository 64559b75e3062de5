//! Checksums: of headers and snapshots, and of logits, to compare machines by.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

/// CRC-32 (ISO-HDLC), as zip files and Ethernet have it.
pub(crate) const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// CRC-32 (ISO-HDLC) of logits as little-endian `f32`: two machines that get
/// the same digest computed the same bits.
pub fn logits_digest(logits: &[f32]) -> u32 {
    let mut digest = CRC.digest();
    for logit in logits {
        digest.update(&logit.to_le_bytes());
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the bytes `00 00 80 3f 00 00 00 c0`; the value is zlib's.
    #[test]
    fn bits_are_digested_in_little_endian_order() {
        assert_eq!(logits_digest(&[1.0, -2.0]), 0xc387_2656);
        assert_ne!(logits_digest(&[0.0]), logits_digest(&[-0.0]));
        assert_eq!(logits_digest(&[]), 0);
    }
}
