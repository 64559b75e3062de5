//! What a slot holds, and how far it has come.

use briquette_protocol::update::{METADATA_LEN, SIGNATURE_LEN, UpdateRefusal};
use embedded_storage::nor_flash::NorFlash;

/// Bytes in front of a slot's briquette.
pub const JOURNAL_LEN: u32 = 4096;
/// What is written at once: a multiple of every flash's write size.
pub const PAGE: usize = 256;
/// What erased flash reads as.
pub const ERASED: u8 = 0xff;

const HEAD_MAGIC: [u8; 8] = *b"BRIQhead";
const MARK_MAGIC: [u8; 8] = *b"BRIQmark";
const METADATA_AT: usize = 12;
const SIGNATURE_AT: usize = METADATA_AT + METADATA_LEN;
const CRC_AT: usize = SIGNATURE_AT + SIGNATURE_LEN;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// How far a slot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It holds nothing.
    Empty,
    /// An upload began, and did not come to its end.
    Writing,
    /// A verified model that has not run yet.
    Trial,
    /// A verified model that was started and has not answered.
    Tried,
    /// A model that has answered.
    Good,
}

/// What a slot is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Grows with each update: the newest model has the greatest.
    pub sequence: u32,
    /// As they were signed.
    pub metadata: [u8; METADATA_LEN],
    /// Of the metadata.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Head {
    fn encode(&self) -> [u8; PAGE] {
        let mut page = [ERASED; PAGE];
        page[..8].copy_from_slice(&HEAD_MAGIC);
        page[8..METADATA_AT].copy_from_slice(&self.sequence.to_le_bytes());
        page[METADATA_AT..SIGNATURE_AT].copy_from_slice(&self.metadata);
        page[SIGNATURE_AT..CRC_AT].copy_from_slice(&self.signature);
        let crc = CRC.checksum(&page[..CRC_AT]);
        page[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        page
    }

    fn decode(page: &[u8; PAGE]) -> Option<Self> {
        let head = Self {
            sequence: u32::from_le_bytes(*page[8..].first_chunk()?),
            metadata: *page[METADATA_AT..].first_chunk()?,
            signature: *page[SIGNATURE_AT..].first_chunk()?,
        };
        (head.encode() == *page).then_some(head)
    }
}

/// A step that a slot has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Verified = 1,
    Tried = 2,
    Good = 3,
}

impl Mark {
    const ALL: [Self; 3] = [Self::Verified, Self::Tried, Self::Good];

    /// A mark counts for one head only.
    fn encode(self, head: &Head) -> [u8; PAGE] {
        let mut page = [ERASED; PAGE];
        page[..8].copy_from_slice(&MARK_MAGIC);
        page[8..12].copy_from_slice(&(self as u32).to_le_bytes());
        let head_crc = CRC.checksum(&head.encode());
        page[12..16].copy_from_slice(&head_crc.to_le_bytes());
        let crc = CRC.checksum(&page[..16]);
        page[16..20].copy_from_slice(&crc.to_le_bytes());
        page
    }
}

/// A slot's journal as it was read.
#[derive(Debug, Clone)]
pub struct Journal {
    pub head: Option<Head>,
    pub state: State,
    /// First page behind which nothing is written.
    free: u32,
    end: u32,
}

impl Journal {
    /// Reads the journal at `start`.
    pub fn read<F: NorFlash>(flash: &mut F, start: u32) -> Result<Self, F::Error> {
        let mut page = [0; PAGE];
        flash.read(start, &mut page)?;
        let mut journal = Self {
            head: Head::decode(&page),
            state: State::Empty,
            free: start + PAGE as u32,
            end: start + JOURNAL_LEN,
        };
        let Some(head) = journal.head else {
            return Ok(journal);
        };
        let [mut verified, mut tried, mut good] = [false; 3];
        for at in (journal.free..journal.end).step_by(PAGE) {
            flash.read(at, &mut page)?;
            if page != [ERASED; PAGE] {
                journal.free = at + PAGE as u32;
            }
            let mark = Mark::ALL.iter().find(|mark| mark.encode(&head) == page);
            verified |= mark == Some(&Mark::Verified);
            tried |= mark == Some(&Mark::Tried);
            good |= mark == Some(&Mark::Good);
        }
        journal.state = match (verified, tried, good) {
            (false, _, _) => State::Writing,
            (true, false, false) => State::Trial,
            (true, true, false) => State::Tried,
            (true, _, true) => State::Good,
        };
        Ok(journal)
    }

    /// Writes the head of a journal that has just been erased.
    pub fn begin<F: NorFlash>(flash: &mut F, start: u32, head: Head) -> Result<(), UpdateRefusal> {
        if write_and_compare(flash, start, &head.encode())? {
            Ok(())
        } else {
            Err(UpdateRefusal::Flash)
        }
    }

    /// Adds `mark` behind all that is written. A page that does not take it is
    /// left behind.
    pub fn append<F: NorFlash>(&mut self, flash: &mut F, mark: Mark) -> Result<(), UpdateRefusal> {
        let head = self.head.ok_or(UpdateRefusal::Flash)?;
        while self.free < self.end {
            let at = self.free;
            self.free += PAGE as u32;
            if write_and_compare(flash, at, &mark.encode(&head))? {
                return Ok(());
            }
        }
        Err(UpdateRefusal::Flash)
    }
}

fn write_and_compare<F: NorFlash>(
    flash: &mut F,
    at: u32,
    page: &[u8; PAGE],
) -> Result<bool, UpdateRefusal> {
    let mut found = [0; PAGE];
    flash.write(at, page).map_err(|_| UpdateRefusal::Flash)?;
    flash
        .read(at, &mut found)
        .map_err(|_| UpdateRefusal::Flash)?;
    Ok(found == *page)
}
