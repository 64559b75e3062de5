//! Updates that must be refused, each for its reason.

use briquette_protocol::update::{METADATA_LEN, UpdateRefusal};
use briquette_updates::{LayoutError, ModelSlots, Rules};
use ed25519_dalek::SigningKey;

use super::device::{
    ARENA, Device, FORMATS, SLOT, TARGET, UNUSABLE, Update, device_with, installed, key, powered,
    signed, started, update, upload,
};
use super::nor::Nor;

/// A device that runs version 2, with version 1 to fall back to.
fn device() -> (Device, Update) {
    let [older, old] = [update(1, 3_000), update(2, 5_000)];
    let mut device = device_with(installed(SLOT, &[&older, &old]), None);
    assert_eq!(device.boot().unwrap().version, 2);
    (device, old)
}

/// The device refuses `update` at its beginning for this reason, and touches
/// nothing.
fn refused_at_once(device: &mut Device, update: &Update, reason: UpdateRefusal) {
    let begun = device.begin(&update.metadata, &update.signature);
    assert_eq!(begun, Err(reason));
    assert_eq!(device.write(0, &[1]), Err(UpdateRefusal::NotBegun));
    assert_eq!(device.finish(), Err(UpdateRefusal::NotBegun));
}

/// The old model still runs, and both slots are as they were.
fn nothing_happened(device: Device, old: &Update) {
    let untouched = installed::<256, 4096>(SLOT, &[&update(1, 3_000), old]);
    let flash = device.into_flash();
    assert!(flash.bytes == untouched.bytes);
    assert_eq!(started(flash, &[old]).1, Some(0));
}

#[test]
fn what_the_metadata_tell_is_refused_before_anything_is_erased() {
    let (mut device, old) = device();
    let blob = || update(3, 900).blob;
    let mut refuse = |update: &Update, reason| refused_at_once(&mut device, update, reason);

    let stranger = SigningKey::from_bytes(&[8; 32]);
    let update = signed(blob(), &stranger, |_| {});
    refuse(&update, UpdateRefusal::Signature);
    let update = signed(blob(), &key(), |data| data.format = 3);
    let format = UpdateRefusal::Format { found: 3, known: 2 };
    refuse(&update, format);
    let update = signed(blob(), &key(), |data| data.target = "another");
    refuse(&update, UpdateRefusal::Target);
    let update = signed(blob(), &key(), |data| data.version = 1);
    refuse(
        &update,
        UpdateRefusal::Older {
            found: 1,
            newest: 2,
        },
    );
    let update = signed(blob(), &key(), |data| data.arena_bytes = ARENA + 1);
    let arena = UpdateRefusal::Arena {
        needed: ARENA + 1,
        available: ARENA,
    };
    refuse(&update, arena);
    for length in [SLOT as u64 - 4095, 1 << 32, u64::MAX] {
        let update = signed(blob(), &key(), |data| data.length = length);
        let room = SLOT as u64 - 4096;
        refuse(&update, UpdateRefusal::TooLarge { length, room });
    }
    nothing_happened(device, &old);
}

#[test]
fn every_flipped_bit_of_metadata_and_signature_is_noticed() {
    let (mut device, old) = device();
    let good = update(3, 900);
    for bit in 0..8 * (METADATA_LEN + good.signature.len()) {
        let mut bad = good.clone();
        match bad.metadata.get_mut(bit / 8) {
            Some(byte) => *byte ^= 1 << (bit % 8),
            None => bad.signature[bit / 8 - METADATA_LEN] ^= 1 << (bit % 8),
        }
        refused_at_once(&mut device, &bad, UpdateRefusal::Signature);
    }
    nothing_happened(device, &old);
}

#[test]
fn signed_metadata_in_another_layout_are_refused() {
    use ed25519_dalek::Signer;
    let (mut device, old) = device();
    let mut update = update(3, 900);
    update.metadata[8] = 2;
    update.signature = key().sign(&update.metadata).to_bytes();
    refused_at_once(&mut device, &update, UpdateRefusal::Metadata);
    nothing_happened(device, &old);
}

#[test]
fn an_update_for_any_target_or_of_the_same_version_is_welcome() {
    let (mut device, _) = device();
    let any = signed(update(3, 900).blob, &key(), |data| data.target = "");
    upload(&mut device, &any).unwrap();
}

#[test]
fn each_format_that_the_device_reads_is_welcome() {
    for format in FORMATS {
        let (mut device, _) = device();
        let update = signed(update(3, 900).blob, &key(), |data| data.format = format);
        upload(&mut device, &update).unwrap();
    }
}

#[test]
fn every_damaged_byte_of_a_briquette_is_noticed() {
    let (mut device, old) = device();
    let good = update(3, 700);
    for at in 0..good.blob.len() {
        let mut bad = good.clone();
        bad.blob[at] ^= 1 << (at % 8);
        assert_eq!(
            upload(&mut device, &bad),
            Err(UpdateRefusal::Digest),
            "{at}"
        );
        assert_eq!(device.finish(), Err(UpdateRefusal::NotBegun));
        assert_eq!(device.boot().unwrap().version, 2);
    }
    upload(&mut device, &good).unwrap();
    let (_, which) = started(device.into_flash(), &[&old, &good]);
    assert_eq!(which, Some(1));
}

#[test]
fn every_damaged_byte_in_flash_is_noticed_at_boot() {
    let [old, new] = [update(1, 700), update(2, 900)];
    let whole = installed::<256, 4096>(8192, &[&old, &new]);
    let mut found = [0, 0];
    for at in 0..whole.bytes.len() {
        let mut flash = whole.clone();
        flash.bytes[at] ^= 1 << (at % 8);
        // Damage of one slot leaves the model of the other.
        let (_, which) = started(flash, &[&old, &new]);
        found[which.expect("there is always a model")] += 1;
    }
    // Head and briquette; of each mark there are two.
    assert_eq!(found[0], 256 + new.blob.len());
}

#[test]
fn pieces_must_come_in_order_and_fit() {
    let (mut device, old) = device();
    let good = update(3, 1_000);
    device.begin(&good.metadata, &good.signature).unwrap();
    let expects = |expected| Err(UpdateRefusal::OutOfOrder { expected });
    assert_eq!(device.write(1, &good.blob[1..]), expects(0));
    assert_eq!(device.write(0, &good.blob[..300]), Ok(300));
    assert_eq!(device.write(0, &good.blob[..300]), expects(300));
    assert_eq!(device.write(400, &good.blob[400..]), expects(300));
    assert_eq!(device.write(u32::MAX, &[]), expects(300));
    let too_many = Err(UpdateRefusal::TooMany { length: 1_000 });
    assert_eq!(device.write(300, &[0; 701]), too_many);
    // None of this has spoilt the upload.
    assert_eq!(device.write(300, &good.blob[300..]), Ok(1_000));
    assert_eq!(device.write(1_000, &[]), Ok(1_000));
    assert_eq!(device.write(1_000, &[0]), too_many);
    device.finish().unwrap();
    let (_, which) = started(device.into_flash(), &[&old, &good]);
    assert_eq!(which, Some(1));
}

#[test]
fn a_truncated_upload_is_refused() {
    let (mut device, old) = device();
    let good = update(3, 1_000);
    for received in [0, 1, 255, 256, 257, 999] {
        device.begin(&good.metadata, &good.signature).unwrap();
        device.write(0, &good.blob[..received]).unwrap();
        let incomplete = UpdateRefusal::Incomplete {
            received: received as u32,
            length: 1_000,
        };
        assert_eq!(device.finish(), Err(incomplete));
        assert_eq!(device.finish(), Err(UpdateRefusal::NotBegun));
        assert_eq!(device.boot().unwrap().version, 2);
    }
    assert_eq!(started(device.into_flash(), &[&old, &good]).1, Some(0));
}

#[test]
fn a_signed_file_that_is_no_usable_model_is_refused() {
    let (mut device, old) = device();
    let bad = signed(UNUSABLE.to_vec(), &key(), |_| {});
    assert_eq!(upload(&mut device, &bad), Err(UpdateRefusal::Model));
    let empty = signed(Vec::new(), &key(), |_| {});
    upload(&mut device, &empty).unwrap();
    assert_eq!(upload(&mut device, &bad), Err(UpdateRefusal::Model));
    assert_eq!(started(device.into_flash(), &[&old]).1, Some(0));
}

#[test]
fn a_flash_that_fails_is_reported_and_the_old_model_stays() {
    let [old, new] = [update(1, 3_000), update(2, 5_000)];
    let flash = installed::<256, 4096>(SLOT, &[&old]);
    let (mut flash, ()) = powered(flash, None, |device| {
        device.boot();
        device.begin(&new.metadata, &new.signature).unwrap();
    });
    flash.broken = true;
    let (mut flash, ()) = powered(flash, None, |device| {
        assert_eq!(device.boot().unwrap().version, 1);
        assert_eq!(upload(device, &new), Err(UpdateRefusal::Flash));
        assert_eq!(device.write(0, &[0]), Err(UpdateRefusal::NotBegun));
    });
    flash.broken = false;
    assert_eq!(started(flash, &[&old, &new]).1, Some(0));
}

#[test]
fn places_that_cannot_be_slots_are_refused() {
    let place = |first, second, key| {
        let rules = Rules {
            key,
            formats: FORMATS,
            target: TARGET,
            arena_bytes: ARENA,
            factory: None,
            accept: |_: &mut Nor<4, 4096>, _, _| Ok(()),
        };
        ModelSlots::new(Nor::new(1 << 16), [first, second], rules).map(|_| ())
    };
    let key = key().verifying_key().to_bytes();
    assert_eq!(place(0..0x8000, 0x8000..0x10000, key), Ok(()));
    let error = place(0..0x8000, 0x7000..0x10000, key);
    assert_eq!(error, Err(LayoutError::Overlap));
    let error = place(0..0x8000, 0x8000..0x11000, key);
    assert_eq!(error, Err(LayoutError::OutOfBounds));
    let error = place(0..0x8000, 0x8800..0x10000, key);
    assert_eq!(error, Err(LayoutError::Alignment));
    let error = place(0..0x1000, 0x8000..0x10000, key);
    assert_eq!(error, Err(LayoutError::TooSmall));
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    let error = place(0x8000..0, 0x8000..0x10000, key);
    assert_eq!(error, Err(LayoutError::TooSmall));
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let error = place(0..0x8000, 0x8000..0x10000, no_point);
    assert_eq!(error, Err(LayoutError::Key));
}
