//! Help, wrong usage and odd files.

use std::fs;
use std::path::Path;

use crate::command::{fail, succeed, tool};
use crate::place::Workplace;

#[test]
fn help_shows_examples() {
    let verbs = [
        "demo", "pack", "inspect", "verify", "run", "tokenize", "logits", "eval", "bench", "flash",
        "device", "train",
    ];
    let help = succeed(&["--help"]);
    for verb in verbs {
        assert!(help.contains(verb), "{verb}");
        let help = succeed(&[verb, "--help"]);
        assert!(help.contains(&format!("briquette {verb}")), "{help}");
    }
}

#[test]
fn wrong_usage_has_exit_code_two() {
    for args in [
        &["press"][..],
        &["pack"],
        &["pack", "x", "-o", "y", "--weights", "q3"],
        &["run", "model.briq", "-n", "many"],
        &["bench", "model.briq", "--threads", "x"],
    ] {
        assert_eq!(tool(args).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(tool(&[]).status.code(), Some(2));
}

#[test]
fn help_has_examples_and_wrong_usage_exit_code_two() {
    for verb in [
        &["device"][..],
        &["device", "chat"],
        &["device", "info"],
        &["device", "bench"],
        &["device", "update"],
        &["device", "keygen"],
        &["device", "sign"],
        &["flash"],
    ] {
        let help = succeed(&[verb, &["--help"]].concat());
        assert!(
            help.contains(&format!("briquette {}", verb.join(" "))),
            "{help}"
        );
    }
    for args in [
        &["device"][..],
        &["device", "info"],
        &["device", "info", "--port", "tcp:nowhere"],
        &["device", "info", "--port", "/dev/x", "--timeout", "-1"],
        &["device", "bench", "--port", "/dev/x", "--repeat", "0"],
        &["flash", "model.briq"],
        &[
            "flash",
            "model.briq",
            "--target",
            "x",
            "--listen",
            "unix:/tmp/x",
            "-p",
            "hi",
        ],
    ] {
        assert_eq!(tool(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn missing_and_odd_files_are_named() {
    let place = Workplace::new();
    for verb in ["inspect", "verify", "run", "bench"] {
        assert!(fail(&[verb, "nowhere.briq"]).contains("nowhere.briq"));
    }
    let folder = place.path("");
    assert!(fail(&["verify", &folder]).contains("folder"));
    let text = place.path("text.briq");
    fs::write(&text, "hello").unwrap();
    assert!(fail(&["verify", &text]).contains("not a briquette"));
    fs::write(&text, "").unwrap();
    fail(&["verify", &text]);
    let out = place.path("out.briq");
    assert!(fail(&["pack", "nowhere", "-o", &out]).contains("nowhere"));
    assert!(fail(&["pack", &text, "-o", &out]).contains("GGUF"));
    assert!(fail(&["pack", &folder, "-o", &out]).contains("config.json"));
    assert!(!Path::new(&out).exists());
}
