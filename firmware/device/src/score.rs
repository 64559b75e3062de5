//! Digests of logits: does a device compute what a host computes?

use briquette_engine::EngineError;
use briquette_engine::text::sampler::most_likely;
use briquette_protocol::{Response, StopReason};
use embedded_io::{Read, ReadReady, Write};

use super::{Device, refusal, send};

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

impl<L: Read + ReadReady + Write> Device<'_, L> {
    /// Computes `ids` one after the other, tells a digest of each token's
    /// logits, and goes on greedily.
    pub(super) fn score(&mut self, ids: &[u32], greedy: u32) -> Result<(), L::Error> {
        self.session.truncate(0);
        let mut next = Err(EngineError::NoTokens);
        for id in ids {
            let position = self.session.position() as u32;
            let logits = match self.session.decode(*id) {
                Ok(logits) => logits,
                Err(error) => {
                    next = Err(error);
                    break;
                }
            };
            let mut digest = CRC.digest();
            for logit in logits.iter() {
                digest.update(&logit.to_le_bytes());
            }
            let crc = digest.finalize();
            next = Ok(most_likely(logits));
            send(&mut self.line, &Response::Digest { position, crc })?;
        }
        for _ in 0..greedy {
            let Ok(token) = next else { break };
            send(&mut self.line, &Response::Token(token))?;
            next = self.session.decode(token).map(|logits| most_likely(logits));
        }
        match next {
            Ok(_) => self.send(&Response::Done(StopReason::Length)),
            Err(error) => self.send(&Response::Refused(refusal(error))),
        }
    }
}
