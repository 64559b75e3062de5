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
    /// A verified model that was started and has not answered yet.
    Tried,
    /// An upload that had not come to its end, or a model that had not answered,
    /// when the device started again.
    GivenUp,
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
    GivenUp = 4,
}

impl Mark {
    const ALL: [Self; 4] = [Self::Verified, Self::Tried, Self::Good, Self::GivenUp];

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

    fn decode(page: &[u8; PAGE], head: &Head) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mark| mark.encode(head) == *page)
    }

    /// The state of a slot whose last mark this is.
    pub const fn state(self) -> State {
        match self {
            Self::Verified => State::Trial,
            Self::Tried => State::Tried,
            Self::Good => State::Good,
            Self::GivenUp => State::GivenUp,
        }
    }
}

/// A slot's journal as it was read.
#[derive(Debug, Clone)]
pub struct Journal {
    pub head: Option<Head>,
    /// What the last mark says.
    pub state: State,
    /// Whether the next reading might find another state: the last page was not
    /// written to its end, or nothing after it tells that it was.
    pub is_doubtful: bool,
    /// First page from which on nothing is written.
    free: u32,
    end: u32,
}

impl Journal {
    /// Reads the journal at `start`. A page that cannot be read is one that was
    /// torn: flash with error correction reports such, and for ever.
    pub fn read<F: NorFlash>(flash: &mut F, start: u32) -> Self {
        let head = read_page(flash, start).and_then(|page| Head::decode(&page));
        let mut journal = Self {
            head,
            state: State::Empty,
            is_doubtful: false,
            free: start + PAGE as u32,
            end: start + JOURNAL_LEN,
        };
        let Some(head) = head else {
            return journal;
        };
        journal.state = State::Writing;
        let mut before = None;
        for at in (journal.free..journal.end).step_by(PAGE) {
            let page = read_page(flash, at);
            if page == Some([ERASED; PAGE]) {
                continue;
            }
            let mark = page.and_then(|page| Mark::decode(&page, &head));
            if let Some(mark) = mark {
                journal.state = mark.state();
            }
            journal.is_doubtful = mark.is_none() || mark != before;
            journal.free = at + PAGE as u32;
            before = mark;
        }
        journal
    }

    /// Writes the head of a journal that has just been erased.
    pub fn begin<F: NorFlash>(flash: &mut F, start: u32, head: Head) -> Result<(), UpdateRefusal> {
        if is_written(flash, start, &head.encode()) {
            Ok(())
        } else {
            Err(UpdateRefusal::Flash)
        }
    }

    /// Adds `mark` twice: the second copy tells a reader of the first that it was
    /// written to its end. A page that does not take it is skipped.
    pub fn append<F: NorFlash>(&mut self, flash: &mut F, mark: Mark) -> Result<(), UpdateRefusal> {
        let head = self.head.ok_or(UpdateRefusal::Flash)?;
        let mut copies = 0;
        while copies < 2 && self.free < self.end {
            copies += u32::from(is_written(flash, self.free, &mark.encode(&head)));
            self.free += PAGE as u32;
        }
        if copies < 2 {
            return Err(UpdateRefusal::Flash);
        }
        self.state = mark.state();
        Ok(())
    }
}

fn read_page<F: NorFlash>(flash: &mut F, at: u32) -> Option<[u8; PAGE]> {
    let mut page = [0; PAGE];
    flash.read(at, &mut page).ok()?;
    Some(page)
}

/// Writes `page`; whether it can be read afterwards.
fn is_written<F: NorFlash>(flash: &mut F, at: u32, page: &[u8; PAGE]) -> bool {
    flash.write(at, page).is_ok() && read_page(flash, at).as_ref() == Some(page)
}
