//! Any bytes may be handed to the reader: an error each, never a panic.

use briquette::pack::WeightFormat;
use briquette::run::Arena;
use briquette_engine::Session;
use briquette_engine::blob::{
    Blob, BlobError, HEADER_LEN, Header, Manifest, Role, TensorRecord, trailer,
};
use briquette_engine::quant::KvFormat;
use briquette_engine::{Plan, PlanOptions};
use briquette_tests::{Golden, Packed, repository};
use proptest::prelude::*;

fn tiny() -> Vec<u8> {
    let golden = Golden::open(repository().join("tests/golden/tiny-v3"));
    let packed = Packed::new(&golden.folder, WeightFormat::Q4, KvFormat::Q8);
    packed.file.blob().unwrap().bytes().to_vec()
}

/// Opens a copy at a suitable address, and uses what opens.
fn open(bytes: &[u8]) -> Result<(), BlobError> {
    let mut words = vec![0_u32; bytes.len().div_ceil(4)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    let bytes: &[u8] = &bytemuck::cast_slice(&words)[..bytes.len()];
    let blob = Blob::open(bytes)?;
    use_blob(&blob);
    Ok(())
}

/// Whatever opens must also run without a panic, if it is of bearable size.
fn use_blob(blob: &Blob<'_>) {
    let options = PlanOptions {
        context: 4,
        batch: 2,
        ..PlanOptions::packed(blob.manifest())
    };
    let Ok(plan) = Plan::new(blob.manifest(), options) else {
        return;
    };
    if plan.arena_bytes() < 64 << 20 {
        let mut arena = Arena::for_plan(&plan).unwrap();
        let mut session = Session::new(blob.clone(), &plan, arena.bytes_mut()).unwrap();
        let _ = session.prefill(&[0, 1, 2]);
    }
}

/// Rewrites the header so that checksums match the changed manifest.
fn with_manifest(file: &[u8], change: impl FnOnce(&mut Manifest<'_>)) -> Vec<u8> {
    let (header, encoded) = Header::decode(file).unwrap();
    let (mut manifest, _) = postcard::take_from_bytes::<Manifest<'_>>(encoded).unwrap();
    change(&mut manifest);
    with_encoded(file, &header, &postcard::to_stdvec(&manifest).unwrap())
}

fn with_encoded(file: &[u8], header: &Header, encoded: &[u8]) -> Vec<u8> {
    let start = header.payload_offset as usize;
    let payload = &file[start..start + header.payload_len as usize];
    let digest: [u8; 32] = {
        let at = header.trailer_offset().unwrap() as usize;
        file[at..at + 32].try_into().unwrap()
    };
    let header = Header::new(encoded.len() as u32, header.payload_len).unwrap();
    let head = header.encode(encoded);
    let mut out = vec![0; header.file_len().unwrap() as usize];
    out[..HEADER_LEN].copy_from_slice(&head);
    out[HEADER_LEN..HEADER_LEN + encoded.len()].copy_from_slice(encoded);
    let start = header.payload_offset as usize;
    out[start..start + payload.len()].copy_from_slice(payload);
    let at = header.trailer_offset().unwrap() as usize;
    out[at..].copy_from_slice(&trailer(&head, encoded, digest));
    out
}

fn with_record(file: &[u8], index: usize, change: impl FnOnce(&mut TensorRecord)) -> Vec<u8> {
    let (_, encoded) = Header::decode(file).unwrap();
    let (manifest, _) = postcard::take_from_bytes::<Manifest<'_>>(encoded).unwrap();
    let mut tensors = manifest.tensors.to_vec();
    let at = index * TensorRecord::BYTES;
    let bytes: &mut [u8] = &mut tensors[at..at + TensorRecord::BYTES];
    let mut record = TensorRecord::decode((&*bytes).try_into().unwrap()).unwrap();
    change(&mut record);
    bytes.copy_from_slice(&record.encode());
    let changed = Manifest {
        tensors: &tensors,
        ..manifest.clone()
    };
    let encoded = postcard::to_stdvec(&changed).unwrap();
    with_encoded(file, &Header::decode(file).unwrap().0, &encoded)
}

#[test]
fn the_file_itself_is_intact() {
    let file = tiny();
    open(&file).unwrap();
    open(&with_manifest(&file, |_| {})).unwrap();
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let file = tiny();
    // The header and manifest byte by byte; the payload at a prime stride
    // and its end byte by byte.
    let manifest_end = Header::decode(&file).unwrap().0.payload_offset as usize;
    let sparse = (manifest_end..file.len()).step_by(1009);
    let lengths = (0..manifest_end)
        .chain(sparse)
        .chain(file.len() - 130..file.len());
    for len in lengths {
        assert!(open(&file[..len]).is_err(), "{len} bytes opened");
    }
}

#[test]
fn a_flipped_byte_of_header_or_manifest_is_an_error() {
    let mut file = tiny();
    let (header, _) = Header::decode(&file).unwrap();
    for at in 0..HEADER_LEN + header.manifest_len as usize {
        for flip in [0x01, 0x80, 0xff] {
            file[at] ^= flip;
            assert!(open(&file).is_err(), "byte {at} ^ {flip:#x} opened");
            file[at] ^= flip;
        }
    }
}

/// The same with a checksum that fits, as an attacker would make it: the
/// content itself must be checked, and whatever opens must run.
#[test]
fn a_flipped_byte_with_a_fitting_checksum_never_panics() {
    let file = tiny();
    let (header, encoded) = Header::decode(&file).unwrap();
    let mut encoded = encoded.to_vec();
    for at in 0..encoded.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            encoded[at] ^= flip;
            let _ = open(&with_encoded(&file, &header, &encoded));
            encoded[at] ^= flip;
        }
    }
}

#[test]
fn trailing_bytes_and_wrong_magic_are_named() {
    let file = tiny();
    let mut longer = file.clone();
    longer.push(0);
    assert_eq!(open(&longer), Err(BlobError::TrailingBytes { extra: 1 }));
    assert_eq!(open(b"GGUF\x03\0\0\0"), Err(BlobError::BadMagic));
    let mut newer = file.clone();
    newer[8] = 4;
    assert_eq!(open(&newer), Err(BlobError::Version { found: 4, known: 3 }));
    let (header, encoded) = Header::decode(&file).unwrap();
    let mut longer = encoded.to_vec();
    longer.push(0);
    let error = open(&with_encoded(&file, &header, &longer));
    assert_eq!(error, Err(BlobError::ManifestTrailing { extra: 1 }));
}

#[test]
fn a_damaged_payload_is_found_by_verify() {
    let mut file = tiny();
    let mut words = vec![0_u32; file.len().div_ceil(4)];
    let mut verify = |file: &[u8]| {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        bytes[..file.len()].copy_from_slice(file);
        Blob::open(&bytes[..file.len()]).unwrap().verify()
    };
    assert_eq!(verify(&file), Ok(()));
    let (header, _) = Header::decode(&file).unwrap();
    let at = (header.payload_offset + header.payload_len / 2) as usize;
    file[at] ^= 1;
    assert_eq!(verify(&file), Err(BlobError::PayloadChecksum));
    file[at] ^= 1;
    *file.last_mut().unwrap() ^= 1;
    assert_eq!(verify(&file), Err(BlobError::FileDigest));
}

#[test]
fn a_misplaced_file_is_an_error() {
    let file = tiny();
    let mut words = vec![0_u32; file.len().div_ceil(4) + 1];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    bytes[1..=file.len()].copy_from_slice(&file);
    let error = Blob::open(&bytes[1..=file.len()]).unwrap_err();
    assert_eq!(error, BlobError::Misaligned { needed: 4 });
}

#[test]
fn tensor_tables_that_lie_are_refused() {
    let file = tiny();
    let (_, encoded) = Header::decode(&file).unwrap();
    let (manifest, _) = postcard::take_from_bytes::<Manifest<'_>>(encoded).unwrap();
    let count = manifest.tensors.len() / TensorRecord::BYTES;
    type Change = (&'static str, fn(&mut TensorRecord));
    let changes: [Change; 10] = [
        ("offset", |r| r.offset += 64),
        ("offset", |r| r.offset = u64::MAX - 63),
        ("stride", |r| r.stride = r.stride.wrapping_sub(64)),
        ("stride", |r| r.stride = u64::MAX / 2),
        ("rows", |r| r.rows += 1),
        ("cols", |r| r.cols = u32::MAX),
        ("count", |r| r.count = 0),
        ("count", |r| r.count = u32::MAX),
        ("layer", |r| r.layer ^= 1),
        ("role", |r| {
            r.role = if r.role == Role::Output {
                Role::Down
            } else {
                Role::Output
            };
        }),
    ];
    for index in 0..count {
        for (field, change) in &changes {
            let error = open(&with_record(&file, index, change));
            assert!(
                error.is_err(),
                "entry {index}: a wrong {field} was accepted"
            );
        }
    }
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let file = tiny();
    type Change = fn(&mut Manifest<'_>);
    let changes: [Change; 14] = [
        |m| m.config.hidden_size = 0,
        |m| m.config.hidden_size = u32::MAX,
        |m| m.config.vocab_size = 0,
        |m| m.config.num_attention_heads = 0,
        |m| m.config.num_hidden_layers += 1,
        |m| m.config.rms_norm_eps = f32::NAN,
        |m| m.config.softmax_scale = -1.0,
        |m| m.config.moe.as_mut().unwrap().top_k = 0,
        |m| m.config.moe.as_mut().unwrap().top_k = 17,
        |m| m.config.moe.as_mut().unwrap().num_experts = 0,
        |m| m.config.moe.as_mut().unwrap().router.num_groups = 3,
        |m| m.config.moe = None,
        |m| m.layout = 9,
        |m| m.stop_tokens.push(512).unwrap(),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        assert!(
            open(&with_manifest(&file, change)).is_err(),
            "change {i} was accepted"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..512), magic: bool) {
        if magic && bytes.len() >= 10 {
            bytes[..8].copy_from_slice(b"\x89BRIQ\r\n\x1a");
            bytes[8..10].copy_from_slice(&[1, 0]);
        }
        prop_assert!(open(&bytes).is_err());
    }
}
