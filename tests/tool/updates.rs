//! Signed updates, as the tool makes and reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::command::{fail, json, succeed};
use crate::place::Place;
use crate::stand_ins::profile;

#[test]
fn updates_are_signed_with_a_key_that_is_made_once() {
    let place = Place::new();
    let (key, public, update) = (place.path("k.key"), place.path("k.pub"), place.path("up"));
    succeed(&["device", "keygen", "-o", &key]);
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the secret key is its owner's alone");
    let made = fs::read(&key).unwrap();
    assert!(fail(&["device", "keygen", "-o", &key]).contains("never overwritten"));
    assert_eq!(fs::read(&key).unwrap(), made);

    let model = place.model();
    let target = ["--target", "mps2-an500", "-o", &update];
    let sign = ["device", "sign", &model, "--key"];
    succeed(&[&sign[..], &[&key], &target].concat());
    assert!(fail(&[&sign[..], &[&public], &target].concat()).contains("keygen"));
    // Metadata, signature, briquette.
    let signed = fs::read(&update).unwrap();
    assert_eq!(signed[128 + 64..], fs::read(&model).unwrap());

    // Not signed, and a device that has no place for it.
    let (port, device) = place.device();
    let error = fail(&["device", "update", &model, "--port", &port]);
    assert!(error.contains("--key"), "{error}");
    device.join().unwrap();
    let (port, device) = place.device();
    let error = fail(&["device", "update", &update, "--port", &port]);
    assert!(error.contains("takes no updates"), "{error}");
    device.join().unwrap();
}

#[test]
fn an_update_is_signed_for_a_target_that_exists_and_has_room_for_it() {
    let place = Place::new();
    let (key, update) = (place.path("k.key"), place.path("up"));
    succeed(&["device", "keygen", "-o", &key]);
    let model = place.model();
    let sign = [
        "device", "sign", &model, "--key", &key, "-o", &update, "--target",
    ];
    let error = fail(&[&sign[..], &["pico2040"]].concat());
    assert!(
        error.contains("no target `pico2040`") && error.contains("rp2350"),
        "{error}"
    );
    let small = profile(&place, "small.toml", "");
    let text = fs::read_to_string(&small).unwrap();
    fs::write(
        &small,
        text.replace("ram_bytes = 300000", "ram_bytes = 30000"),
    )
    .unwrap();
    let error = fail(&[&sign[..], &[&small]].concat());
    assert!(error.contains("does not fit my board"), "{error}");
    assert!(!Path::new(&update).exists());
    // A board of one's own is called as its file.
    let own = profile(&place, "my-board.toml", "");
    succeed(&[&sign[..], &[&own]].concat());
    let signed = fs::read(&update).unwrap();
    assert!(signed[32..].starts_with(b"my-board\0"));
}

#[test]
fn a_signed_update_is_told_from_a_briquette() {
    let place = Place::new();
    let (key, update) = (place.path("k.key"), place.path("up"));
    succeed(&["device", "keygen", "-o", &key]);
    let model = place.model();
    succeed(&[
        "device",
        "sign",
        &model,
        "--key",
        &key,
        "-o",
        &update,
        "--target",
        "rp2350",
        "--version",
        "7",
    ]);
    let shown = succeed(&["inspect", &update]);
    let (head, page) = shown.split_once("\n\n").unwrap();
    assert!(
        head.contains("signed update, version 7 for rp2350"),
        "{head}"
    );
    assert_eq!(page, succeed(&["inspect", &model]));
    let report = json(&["inspect", &update]);
    assert_eq!(report["update"]["version"], 7);
    assert_eq!(report["update"]["target"], "rp2350");
    let verdict = succeed(&["verify", &update]);
    assert!(
        verdict.contains("signed update, version 7 for rp2350"),
        "{verdict}"
    );
    assert_eq!(json(&["verify", &update])["ok"], true);
    let error = fail(&["run", &update, "-p", "hi"]);
    assert!(error.contains("briquette device update"), "{error}");

    let whole = fs::read(&update).unwrap();
    fs::write(&update, &whole[..whole.len() - 1]).unwrap();
    assert!(fail(&["verify", &update]).contains("were signed"));
    assert!(fail(&["inspect", &update]).contains("were signed"));
    let mut flipped = whole;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&update, flipped).unwrap();
    assert!(fail(&["verify", &update]).contains("SHA-256"));
}
