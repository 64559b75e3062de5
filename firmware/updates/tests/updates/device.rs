//! A device with two slots, and updates for it.

use std::ops::{Range, RangeInclusive};

use briquette_protocol::update::{METADATA_LEN, Metadata, SIGNATURE_LEN, UpdateRefusal};
use briquette_updates::{JOURNAL_LEN, Model, ModelSlots, Rules};
use ed25519_dalek::{Signer, SigningKey};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::nor::{Nor, Tear};

/// As an RP2350 writes and erases.
pub type Flash = Nor<256, 4096>;
pub type Device = ModelSlots<Flash>;

pub const TARGET: &str = "simulated";
pub const FORMATS: RangeInclusive<u16> = 1..=2;
pub const ARENA: u64 = 50_000;
/// Bytes of a slot.
pub const SLOT: usize = JOURNAL_LEN as usize + 3 * 4096;
/// Models that start so cannot be opened.
pub const UNUSABLE: &[u8] = b"unusable";

/// A signed briquette, or something in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub metadata: [u8; METADATA_LEN],
    pub signature: [u8; SIGNATURE_LEN],
    pub blob: Vec<u8>,
}

/// The device's key: for tests only.
pub fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// An update of `length` bytes, as good as they come.
pub fn update(version: u32, length: usize) -> Update {
    let mut blob = vec![0; length];
    Xoshiro256PlusPlus::seed_from_u64(version.into()).fill_bytes(&mut blob);
    signed(blob, &key(), |metadata| metadata.version = version)
}

/// Signs `blob` after a `change` of what is signed.
pub fn signed(blob: Vec<u8>, key: &SigningKey, change: impl FnOnce(&mut Metadata<'_>)) -> Update {
    let mut metadata = Metadata {
        format: 1,
        version: 2,
        length: blob.len() as u64,
        arena_bytes: ARENA,
        target: TARGET,
        sha256: Sha256::digest(&blob).into(),
    };
    change(&mut metadata);
    let metadata = metadata.encode().unwrap();
    Update {
        signature: key.sign(&metadata).to_bytes(),
        metadata,
        blob,
    }
}

/// Switches on a device that has (or lacks) a model in its program.
pub fn device_with<const WRITE: usize, const ERASE: usize>(
    flash: Nor<WRITE, ERASE>,
    factory: Option<u32>,
) -> ModelSlots<Nor<WRITE, ERASE>> {
    let slot = (flash.bytes.len() / 2) as u32;
    let rules = Rules {
        key: key().verifying_key().to_bytes(),
        formats: FORMATS,
        target: TARGET,
        arena_bytes: ARENA,
        factory,
        accept: |flash: &mut Nor<WRITE, ERASE>, range, _| {
            let bytes = &flash.bytes[range.start as usize..range.end as usize];
            if bytes.starts_with(UNUSABLE) {
                return Err(UpdateRefusal::Model);
            }
            Ok(())
        },
    };
    ModelSlots::new(flash, [0..slot, slot..2 * slot], rules).unwrap()
}

/// Uploads `update` in pieces of an odd size.
pub fn upload<const WRITE: usize, const ERASE: usize>(
    device: &mut ModelSlots<Nor<WRITE, ERASE>>,
    update: &Update,
) -> Result<Range<u32>, UpdateRefusal> {
    device.begin(&update.metadata, &update.signature)?;
    let mut offset = 0;
    for piece in update.blob.chunks(301) {
        offset = device.write(offset, piece)?;
    }
    device.finish()
}

/// A whole update: upload, restart, first answer.
pub fn install<const WRITE: usize, const ERASE: usize>(
    device: &mut ModelSlots<Nor<WRITE, ERASE>>,
    update: &Update,
) -> Result<Option<Model>, UpdateRefusal> {
    device.boot();
    // A model on trial is asked something.
    device.confirm()?;
    upload(device, update)?;
    let model = device.boot();
    if device.flash().is_dead() {
        return Err(UpdateRefusal::Flash);
    }
    device.confirm()?;
    Ok(model)
}

/// A device that has had these updates.
pub fn installed<const WRITE: usize, const ERASE: usize>(
    slot: usize,
    updates: &[&Update],
) -> Nor<WRITE, ERASE> {
    let mut flash = Nor::new(2 * slot);
    flash.fill(3);
    let mut device = device_with(flash, None);
    for update in updates {
        install(&mut device, update).unwrap();
    }
    device.into_flash()
}

/// Switches the device on (with a `cut` at some operation) for `act`; returns
/// its flash afterwards.
pub fn powered<const WRITE: usize, const ERASE: usize, R>(
    mut flash: Nor<WRITE, ERASE>,
    cut: Option<(usize, Tear)>,
    act: impl FnOnce(&mut ModelSlots<Nor<WRITE, ERASE>>) -> R,
) -> (Nor<WRITE, ERASE>, R) {
    flash.restart(cut);
    let mut device = device_with(flash, None);
    let result = act(&mut device);
    (device.into_flash(), result)
}

/// Which of `updates` a device with this flash starts; panics if the bytes are
/// none of theirs.
pub fn started<const WRITE: usize, const ERASE: usize>(
    flash: Nor<WRITE, ERASE>,
    updates: &[&Update],
) -> (Nor<WRITE, ERASE>, Option<usize>) {
    let (flash, model) = powered(flash, None, ModelSlots::boot);
    let which = model.map(|model| {
        let bytes = &flash.bytes[model.range.start as usize..model.range.end as usize];
        let which = updates.iter().position(|update| update.blob == bytes);
        which.expect("the model is one of these, byte for byte")
    });
    (flash, which)
}
