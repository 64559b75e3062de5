//! The tokenizer section of a briquette.
//!
//! Everything is little-endian, unaligned and read in place. A section is a
//! header of 24 words (`u32`), then columns without padding between them, in
//! the order of the second table; its length is exactly their sum.
//!
//! | word | field | meaning |
//! |---|---|---|
//! | 0, 1 | `magic` | the bytes `BRIQTOKN` |
//! | 2 | `version` | 1 |
//! | 3 | `options` | bit 0: `ignore_merges`; bit 1: normalise to NFC; other bits 0 |
//! | 4 | `id_width` | bytes of an id, a rank or a merge index: 2, 3 or 4 |
//! | 5 | `offset_width` | bytes of an offset into the token bytes: 2, 3 or 4 |
//! | 6 | `vocabulary` | number of ids, unused ones included |
//! | 7 | `sorted` | number of tokens that the merges' vocabulary has |
//! | 8 | `merges` | number of merges |
//! | 9 | `added` | number of added tokens |
//! | 10 | `steps` | number of pre-tokenizer steps, at most 16 |
//! | 11 | `ranges` | number of character ranges |
//! | 12 | `decompositions` | canonical decompositions, 0 without NFC |
//! | 13 | `compositions` | canonical compositions, 0 without NFC |
//! | 14 | `combining` | characters of non-zero combining class, 0 without NFC |
//! | 15 | `prefix` | tokens put before a text |
//! | 16 | `suffix` | tokens put after a text |
//! | 17 | `stops` | tokens that end an answer |
//! | 18 | `bos` | begin-of-text id, or `0xFFFF_FFFF` |
//! | 19 | `eos` | end-of-text id, or `0xFFFF_FFFF` |
//! | 20 | `unknown` | id for a byte without a token; `0xFFFF_FFFF`: such bytes are dropped |
//! | 21 | `added_bytes` | length of the added tokens' text |
//! | 22 | `token_bytes` | length of the tokens' bytes |
//! | 23 | `reserved` | 0 |
//!
//! | column | entries | an entry |
//! |---|---|---|
//! | prefix, suffix, stops | as counted | `u32` id |
//! | byte ids | 256 | `u32` id of the token of that byte, or `0xFFFF_FFFF` |
//! | steps | `steps` | `u8` kind, `u8` argument, `u16` first range, `u16` number of ranges: see [`Splitter`](super::Splitter) |
//! | ranges | `ranges` | `u32` first, `u32` last character, both included |
//! | decompositions | `decompositions` | three 3-byte characters: one that decomposes, ascending; what it becomes (the second 0 if there is one only). The first part may decompose again. Hangul syllables are not listed |
//! | compositions | `compositions` | three 3-byte characters: first, second, what they compose to; ascending. Without Hangul |
//! | combining | `combining` | `u32`: character × 256 + combining class, ascending |
//! | added | `added` | `u32` id, `u32` end of its text in the added bytes, `u32` flags: bit 0 special (left out of shown text), bit 1 matched in normalised text; ascending ids |
//! | added bytes | | the added tokens' texts as they are matched, one after the other |
//! | first merge | `vocabulary` + 1 | `id_width`: index of the first merge whose left part is this id |
//! | merges | `merges` | three times `id_width`: right part, rank, id of the merged token; ascending by left part, then right part |
//! | sorted | `sorted` | `id_width`: the ids of the merges' vocabulary, ascending by their bytes |
//! | token ends | `vocabulary` | `offset_width`: end of this id's bytes; it starts where the id before it ends |
//! | token bytes | | the tokens' bytes; an unused id has none |

use super::TokenizerError;

/// The first bytes of a section.
pub const MAGIC: [u8; 8] = *b"BRIQTOKN";
/// The version this engine reads and writes.
pub const VERSION: u32 = 1;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 24 * 4;
/// Stands for "no such id".
pub const NO_ID: u32 = u32::MAX;
/// Bit of [`Header::options`]: a piece that is one token is that token, whatever the merges say.
pub const IGNORE_MERGES: u32 = 1;
/// Bit of [`Header::options`]: text is brought to Unicode's NFC first.
pub const NORMALIZE_NFC: u32 = 2;
/// Bit of an added token's flags: left out of shown text.
pub const ADDED_SPECIAL: u32 = 1;
/// Bit of an added token's flags: matched in normalised text.
pub const ADDED_NORMALIZED: u32 = 2;
/// The most pre-tokenizer steps a section may have.
pub const MAX_STEPS: u32 = 16;

/// The numbers of a section's header, words 3 to 22 in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The table above says what each field means.
pub struct Header {
    pub options: u32,
    pub id_width: u32,
    pub offset_width: u32,
    pub vocabulary: u32,
    pub sorted: u32,
    pub merges: u32,
    pub added: u32,
    pub steps: u32,
    pub ranges: u32,
    pub decompositions: u32,
    pub compositions: u32,
    pub combining: u32,
    pub prefix: u32,
    pub suffix: u32,
    pub stops: u32,
    pub bos: u32,
    pub eos: u32,
    pub unknown: u32,
    pub added_bytes: u32,
    pub token_bytes: u32,
}

impl Header {
    /// The header as it stands at the start of a section.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let words = [
            self.options,
            self.id_width,
            self.offset_width,
            self.vocabulary,
            self.sorted,
            self.merges,
            self.added,
            self.steps,
            self.ranges,
            self.decompositions,
            self.compositions,
            self.combining,
            self.prefix,
            self.suffix,
            self.stops,
            self.bos,
            self.eos,
            self.unknown,
            self.added_bytes,
            self.token_bytes,
        ];
        let (magic, rest) = bytes.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        let fields = core::iter::once(&VERSION).chain(&words);
        for (place, word) in rest.chunks_exact_mut(4).zip(fields) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, TokenizerError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(TokenizerError::BadMagic);
        }
        let head = bytes.get(..HEADER_BYTES).ok_or(TokenizerError::Length {
            found: bytes.len() as u64,
            described: HEADER_BYTES as u64,
        })?;
        let words = Column::new(head, 4);
        let word = |index| words.get(index).unwrap_or(0);
        if word(2) != VERSION {
            return Err(TokenizerError::Version {
                found: word(2),
                supported: VERSION,
            });
        }
        if word(23) != 0 {
            return Err(TokenizerError::BadField {
                field: "reserved",
                value: word(23),
            });
        }
        let header = Self {
            options: word(3),
            id_width: word(4),
            offset_width: word(5),
            vocabulary: word(6),
            sorted: word(7),
            merges: word(8),
            added: word(9),
            steps: word(10),
            ranges: word(11),
            decompositions: word(12),
            compositions: word(13),
            combining: word(14),
            prefix: word(15),
            suffix: word(16),
            stops: word(17),
            bos: word(18),
            eos: word(19),
            unknown: word(20),
            added_bytes: word(21),
            token_bytes: word(22),
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), TokenizerError> {
        let known = IGNORE_MERGES | NORMALIZE_NFC;
        let id = |id: u32| id == NO_ID || id < self.vocabulary;
        let checks = [
            ("options", self.options, self.options & !known == 0),
            ("id_width", self.id_width, (2..=4).contains(&self.id_width)),
            (
                "offset_width",
                self.offset_width,
                (2..=4).contains(&self.offset_width),
            ),
            ("vocabulary", self.vocabulary, self.vocabulary > 0),
            ("sorted", self.sorted, self.sorted <= self.vocabulary),
            ("added", self.added, self.added <= self.vocabulary),
            ("steps", self.steps, self.steps <= MAX_STEPS),
            ("bos", self.bos, id(self.bos)),
            ("eos", self.eos, id(self.eos)),
            ("unknown", self.unknown, id(self.unknown)),
        ];
        match checks.into_iter().find(|(_, _, good)| !good) {
            Some((field, value, _)) => Err(TokenizerError::BadField { field, value }),
            None => Ok(()),
        }
    }
}

/// A run of little-endian numbers of the same width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<'a> {
    bytes: &'a [u8],
    width: usize,
}

impl<'a> Column<'a> {
    fn new(bytes: &'a [u8], width: usize) -> Self {
        Self { bytes, width }
    }

    /// Number `index`, if the column has it.
    pub(super) fn get(&self, index: usize) -> Option<u32> {
        let start = index.checked_mul(self.width)?;
        let end = start.checked_add(self.width)?;
        let bytes = self.bytes.get(start..end)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |value, &byte| value << 8 | u32::from(byte)),
        )
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.width.max(1)
    }

    /// All numbers.
    pub(super) fn iter(self) -> impl Iterator<Item = u32> + 'a {
        (0..self.len()).map_while(move |index| self.get(index))
    }
}

/// Where every column lies. Built once, after which no access can fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) header: Header,
    pub(super) prefix: Column<'a>,
    pub(super) suffix: Column<'a>,
    pub(super) stops: Column<'a>,
    pub(super) byte_ids: Column<'a>,
    pub(super) steps: &'a [u8],
    pub(super) ranges: Column<'a>,
    pub(super) decompositions: Column<'a>,
    pub(super) compositions: Column<'a>,
    pub(super) combining: Column<'a>,
    pub(super) added: Column<'a>,
    pub(super) added_bytes: &'a [u8],
    pub(super) first_merge: Column<'a>,
    pub(super) merges: Column<'a>,
    pub(super) sorted: Column<'a>,
    pub(super) token_ends: Column<'a>,
    pub(super) token_bytes: &'a [u8],
}

impl<'a> Section<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, TokenizerError> {
        let header = Header::parse(bytes)?;
        let mut cutter = Cutter {
            bytes,
            at: HEADER_BYTES as u64,
        };
        let vocabulary = u64::from(header.vocabulary);
        let section = Self {
            header,
            prefix: cutter.column(header.prefix, 1, 4),
            suffix: cutter.column(header.suffix, 1, 4),
            stops: cutter.column(header.stops, 1, 4),
            byte_ids: cutter.column(256, 1, 4),
            steps: cutter.take(u64::from(header.steps) * 6),
            ranges: cutter.column(header.ranges, 2, 4),
            decompositions: cutter.column(header.decompositions, 3, 3),
            compositions: cutter.column(header.compositions, 3, 3),
            combining: cutter.column(header.combining, 1, 4),
            added: cutter.column(header.added, 3, 4),
            added_bytes: cutter.take(u64::from(header.added_bytes)),
            first_merge: Column::new(
                cutter.take((vocabulary + 1) * u64::from(header.id_width)),
                header.id_width as usize,
            ),
            merges: cutter.column(header.merges, 3, header.id_width),
            sorted: cutter.column(header.sorted, 1, header.id_width),
            token_ends: cutter.column(header.vocabulary, 1, header.offset_width),
            token_bytes: cutter.take(u64::from(header.token_bytes)),
        };
        if cutter.at == bytes.len() as u64 {
            Ok(section)
        } else {
            Err(TokenizerError::Length {
                found: bytes.len() as u64,
                described: cutter.at,
            })
        }
    }
}

/// Cuts columns off a section, and keeps count of how long it ought to be.
/// Every count is below 2^32 and every entry below 2^6 bytes, so that the
/// position cannot overflow.
struct Cutter<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> Cutter<'a> {
    fn column(&mut self, entries: u32, numbers: u64, width: u32) -> Column<'a> {
        let bytes = self.take(u64::from(entries) * numbers * u64::from(width));
        Column::new(bytes, width as usize)
    }

    fn take(&mut self, length: u64) -> &'a [u8] {
        let start = self.at;
        self.at += length;
        let range = usize::try_from(start)
            .ok()
            .zip(usize::try_from(self.at).ok());
        range
            .and_then(|(start, end)| self.bytes.get(start..end))
            .unwrap_or_default()
    }
}
