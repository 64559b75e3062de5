//! Writing a tokenizer's section: the tables of `engine/src/text/section.rs`.

use std::collections::HashMap;

use briquette_engine::text::section::{
    ADDED_NORMALIZED, ADDED_SPECIAL, Header, IGNORE_MERGES, NO_ID, NORMALIZE_NFC,
};

use super::normalization::Tables;
use super::{Merge, TokenizerSpec};

/// The section of a tokenizer.
pub fn to_section(spec: &TokenizerSpec) -> Vec<u8> {
    let merges = sorted_merges(&spec.merges);
    let tables = if spec.normalize_nfc {
        Tables::new()
    } else {
        Tables::default()
    };
    let vocabulary = spec.tokens.len() as u32;
    let token_bytes: usize = spec.tokens.iter().map(Vec::len).sum();
    let added_bytes: usize = spec.added.iter().map(|token| token.text.len()).sum();
    let ranges: usize = spec.steps.iter().map(|step| step.ranges.len()).sum();
    // Only whole-piece look-ups and search by text need the sorted list.
    let sorted = sorted_tokens(spec);
    let id_width = width(vocabulary.max(merges.len() as u32));
    let offset_width = width(token_bytes as u32);
    let header = Header {
        options: (u32::from(spec.ignore_merges) * IGNORE_MERGES)
            | (u32::from(spec.normalize_nfc) * NORMALIZE_NFC),
        id_width,
        offset_width,
        vocabulary,
        sorted: sorted.len() as u32,
        merges: merges.len() as u32,
        added: spec.added.len() as u32,
        steps: spec.steps.len() as u32,
        ranges: ranges as u32,
        decompositions: tables.decompositions.len() as u32,
        compositions: tables.compositions.len() as u32,
        combining: tables.combining.len() as u32,
        prefix: spec.prefix.len() as u32,
        suffix: spec.suffix.len() as u32,
        stops: spec.stops.len() as u32,
        bos: spec.bos.unwrap_or(NO_ID),
        eos: spec.eos.unwrap_or(NO_ID),
        unknown: spec.unknown.unwrap_or(NO_ID),
        added_bytes: added_bytes as u32,
        token_bytes: token_bytes as u32,
    };
    let mut out = Columns(header.to_bytes().to_vec());
    for list in [&spec.prefix, &spec.suffix, &spec.stops] {
        out.numbers(list.iter().copied(), 4);
    }
    out.numbers(byte_ids(spec), 4);
    out.steps(spec);
    for table in [&tables.decompositions, &tables.compositions] {
        out.numbers(table.iter().flatten().copied(), 3);
    }
    out.numbers(tables.combining.iter().copied(), 4);
    out.added(spec);
    out.merges(&merges, vocabulary, id_width);
    out.numbers(sorted.into_iter(), id_width);
    let ends = spec.tokens.iter().scan(0, |end, token| {
        *end += token.len() as u32;
        Some(*end)
    });
    out.numbers(ends, offset_width);
    out.0.extend(spec.tokens.concat());
    out.0
}

/// Bytes that hold every number up to `most`, and the mark for none.
const fn width(most: u32) -> u32 {
    match most {
        0..0xffff => 2,
        0xffff..0xff_ffff => 3,
        _ => 4,
    }
}

/// Each pair once, with its rank, by left and right part. Of two merges of the
/// same pair the later one holds, as in Hugging Face's tokenizers.
fn sorted_merges(merges: &[Merge]) -> Vec<(u32, Merge)> {
    let mut last: HashMap<(u32, u32), (u32, Merge)> = HashMap::new();
    for (rank, merge) in (0..).zip(merges) {
        last.insert((merge.left, merge.right), (rank, *merge));
    }
    let mut sorted: Vec<_> = last.into_values().collect();
    sorted.sort_unstable_by_key(|(_, merge)| (merge.left, merge.right));
    sorted
}

fn sorted_tokens(spec: &TokenizerSpec) -> Vec<u32> {
    let mut ids = spec.mergeable.clone();
    ids.sort_unstable_by_key(|id| &spec.tokens[*id as usize]);
    ids
}

/// The token of each single byte.
fn byte_ids(spec: &TokenizerSpec) -> impl Iterator<Item = u32> {
    let mut ids = [NO_ID; 256];
    for id in &spec.mergeable {
        if let [byte] = spec.tokens[*id as usize].as_slice() {
            ids[usize::from(*byte)] = *id;
        }
    }
    ids.into_iter()
}

struct Columns(Vec<u8>);

impl Columns {
    fn numbers(&mut self, numbers: impl Iterator<Item = u32>, width: u32) {
        for number in numbers {
            self.0.extend(&number.to_le_bytes()[..width as usize]);
        }
    }

    fn steps(&mut self, spec: &TokenizerSpec) {
        let mut first = 0_u16;
        for step in &spec.steps {
            let (kind, argument) = step.splitter.code();
            let count = step.ranges.len() as u16;
            self.0.extend([kind, argument]);
            self.0.extend(first.to_le_bytes());
            self.0.extend(count.to_le_bytes());
            first += count;
        }
        let ranges = spec.steps.iter().flat_map(|step| &step.ranges);
        let ends = ranges.flat_map(|(first, last)| [u32::from(*first), u32::from(*last)]);
        self.numbers(ends, 4);
    }

    fn added(&mut self, spec: &TokenizerSpec) {
        let mut end = 0;
        for token in &spec.added {
            end += token.text.len() as u32;
            let flags = (u32::from(token.special) * ADDED_SPECIAL)
                | (u32::from(token.normalized) * ADDED_NORMALIZED);
            self.numbers([token.id, end, flags].into_iter(), 4);
        }
        for token in &spec.added {
            self.0.extend(token.text.as_bytes());
        }
    }

    fn merges(&mut self, merges: &[(u32, Merge)], vocabulary: u32, width: u32) {
        let first_merge = (0..=vocabulary).map(|left| {
            let before = merges.partition_point(|(_, merge)| merge.left < left);
            before as u32
        });
        self.numbers(first_merge, width);
        let entries = merges
            .iter()
            .flat_map(|(rank, merge)| [merge.right, *rank, merge.merged]);
        self.numbers(entries, width);
    }
}
