//! Snapshots of a session's cache: a restored session continues as if never interrupted.

use briquette::pack::WeightFormat;
use briquette_engine::quant::KvFormat;
use briquette_engine::snapshot::{HEADER_LEN, SnapshotError};
use briquette_tests::{Packed, Run, golden_folders, repository};

fn ids(count: u32) -> Vec<u32> {
    (0..count).map(|i| (i * 37 + 11) % 60).collect()
}

fn tiny(kv: KvFormat) -> Packed {
    let source = repository().join("tests/golden/tiny-v2");
    Packed::with_context(&source, WeightFormat::Q4, kv, 64)
}

/// A snapshot of the first `count` of `ids`.
fn snapshot(packed: &Packed, ids: &[u32], count: usize) -> Vec<u8> {
    packed.session(&Run::default(), |session| {
        session.prefill(ids).unwrap();
        let mut bytes = Vec::new();
        let write = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok::<(), SnapshotError>(())
        };
        session.save(&ids[..count], write).unwrap();
        assert_eq!(bytes.len() as u64, session.snapshot_len(count));
        bytes
    })
}

fn restore(packed: &Packed, bytes: &[u8]) -> Result<usize, SnapshotError> {
    packed.session(&Run::default(), |session| {
        session.prefill(&[5, 6, 7]).unwrap();
        let before = session.position();
        let found = session.restore(bytes).map(|tokens| tokens.iter().len());
        assert_eq!(session.position(), found.unwrap_or(before));
        found
    })
}

#[test]
fn a_restored_session_goes_on_with_the_same_bits() {
    let (ids, kept) = (ids(40), 25);
    for golden in golden_folders() {
        let packed = Packed::new(&golden.folder, WeightFormat::Q8, KvFormat::Q8);
        let bytes = snapshot(&packed, &ids, kept);
        let run = Run::default();
        let expected = packed.session(&run, |session| session.prefill(&ids).unwrap().to_vec());
        let found = packed.session(&run, |session| {
            let tokens = session.restore(&bytes).unwrap();
            assert!(tokens.iter().eq(ids[..kept].iter().copied()));
            session.prefill(&ids[kept..]).unwrap().to_vec()
        });
        let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&expected), "{:?}", golden.folder);
    }
}

#[test]
fn a_snapshot_is_taken_only_by_the_session_that_it_suits() {
    let packed = tiny(KvFormat::Q8);
    let bytes = snapshot(&packed, &ids(20), 20);
    assert_eq!(restore(&packed, &bytes), Ok(20));
    // Another cache is another file: the manifest names the format.
    let other = tiny(KvFormat::F16);
    assert_eq!(restore(&other, &bytes), Err(SnapshotError::OtherModel));
    let full = snapshot(&packed, &ids(64), 64);
    assert_eq!(restore(&packed, &full), Ok(64));
    packed.session(&Run::default(), |session| {
        session.prefill(&ids(3)).unwrap();
        let saved: Result<(), SnapshotError> = session.save(&ids(4), |_| Ok(()));
        let expected = SnapshotError::Tokens {
            found: 4,
            cached: 3,
        };
        assert_eq!(saved, Err(expected));
    });
}

#[test]
fn hurt_snapshots_are_refused_and_change_nothing() {
    let packed = tiny(KvFormat::Q8);
    let bytes = snapshot(&packed, &ids(5), 5);
    for cut in 0..bytes.len() {
        assert!(restore(&packed, &bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in (0..HEADER_LEN).chain((HEADER_LEN..bytes.len()).step_by(7)) {
        let mut hurt = bytes.clone();
        hurt[at] ^= 0x10;
        assert!(restore(&packed, &hurt).is_err(), "byte {at}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(
        restore(&packed, &longer),
        Err(SnapshotError::Length { .. })
    ));
    let mut future = bytes.clone();
    future[8] = 2;
    assert_eq!(
        restore(&packed, &future),
        Err(SnapshotError::Version { found: 2, known: 1 })
    );
    let mut endless = bytes;
    endless[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        restore(&packed, &endless),
        Err(SnapshotError::TooLong { .. })
    ));
}
