//! A new model is tried once.

use super::device::{SLOT, device_with, install, installed, powered, started, update, upload};
use super::nor::Nor;
use briquette_protocol::update::{Origin, UpdateRefusal};
use briquette_updates::State;

#[test]
fn a_model_that_never_answers_gives_way_to_the_old_one() {
    let [old, new] = [update(1, 5_000), update(2, 6_000)];
    let flash = installed::<256, 4096>(SLOT, &[&old]);
    let (flash, uploaded) = powered(flash, None, |device| {
        device.boot();
        upload(device, &new)
    });
    uploaded.unwrap();
    let (flash, which) = started(flash, &[&old, &new]);
    assert_eq!(which, Some(1), "the new one is tried");
    let (flash, which) = started(flash, &[&old, &new]);
    assert_eq!(which, Some(0), "but it did not answer");
    let (flash, which) = started(flash, &[&old, &new]);
    assert_eq!(which, Some(0), "and is not tried again");
    let (flash, model) = powered(flash, None, |device| install(device, &new));
    assert!(model.unwrap().is_some(), "until it is sent again");
    assert_eq!(started(flash, &[&old, &new]).1, Some(1));
}

#[test]
fn the_running_model_says_what_it_is() {
    let [old, new] = [update(1, 5_000), update(2, 6_000)];
    let flash = installed::<256, 4096>(SLOT, &[&old]);
    let (_, ()) = powered(flash, None, |device| {
        let model = device.boot().unwrap();
        assert_eq!((model.version, model.on_trial), (1, false));
        upload(device, &new).unwrap();
        let states = device.info().map(|slot| (slot.state, slot.version));
        assert_eq!(states, [(State::Good, Some(1)), (State::Trial, Some(2))]);
        let model = device.boot().unwrap();
        assert_eq!((model.version, model.on_trial), (2, true));
        let status = device.status();
        assert_eq!((status.version, status.origin), (2, Origin::Trial));
        assert_eq!(device.info()[1].state, State::Tried);
        device.confirm().unwrap();
        device.confirm().unwrap();
        assert_eq!(device.status().origin, Origin::Update);
        assert_eq!(device.info()[1].state, State::Good);
        let model = device.boot().unwrap();
        assert_eq!((model.version, model.on_trial), (2, false));
    });
}

#[test]
fn there_is_no_place_for_a_third_model_during_a_trial() {
    let [old, new, newer] = [update(1, 500), update(2, 600), update(3, 700)];
    let flash = installed::<256, 4096>(SLOT, &[&old]);
    powered(flash, None, |device| {
        device.boot();
        upload(device, &new).unwrap();
        // Not started yet: it may be replaced.
        upload(device, &newer).unwrap();
        assert_eq!(device.boot().unwrap().version, 3);
        let refused = device.begin(&new.metadata, &new.signature);
        assert_eq!(refused, Err(UpdateRefusal::OnTrial));
        device.confirm().unwrap();
        upload(device, &newer).unwrap();
    });
}

#[test]
fn the_factory_model_is_the_last_to_fall_back_to() {
    let new = update(6, 5_000);
    let mut flash = Nor::<256, 4096>::new(2 * SLOT);
    flash.fill(5);
    let mut device = device_with(flash, Some(5));
    assert_eq!(device.boot(), None, "only the factory's model is there");
    let status = device.status();
    assert_eq!((status.version, status.origin), (5, Origin::Factory));
    let old = update(4, 100);
    let older = UpdateRefusal::Older {
        found: 4,
        newest: 5,
    };
    assert_eq!(upload(&mut device, &old), Err(older));
    upload(&mut device, &new).unwrap();
    assert_eq!(device.boot().unwrap().version, 6);
    assert_eq!(device.boot(), None, "it did not answer");
    assert!(install(&mut device, &new).unwrap().is_some());
    assert_eq!(device.boot().unwrap().version, 6);
}

#[test]
fn without_anything_else_a_model_that_never_answered_runs() {
    let new = update(6, 5_000);
    let mut device = device_with(Nor::<256, 4096>::new(2 * SLOT), None);
    assert_eq!(device.boot(), None);
    upload(&mut device, &new).unwrap();
    for _ in 0..3 {
        let model = device.boot().unwrap();
        assert_eq!((model.version, model.on_trial), (6, true));
    }
    device.confirm().unwrap();
    assert!(!device.boot().unwrap().on_trial);
}
