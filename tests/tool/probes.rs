//! `briquette flash` with debug probes: which one, what they need, and how a log
//! ends. The probes and builds are stand-ins.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::command::{command, message, repository, signal, tool};
use crate::place::{Place, QUESTION};
use crate::stand_ins::{profile, script};

/// A board with a debug probe, in a checkout with nothing to build.
struct Bench {
    place: Place,
    target: String,
}

const BOARD: &str = "[firmware]\nboard = \"mine\"\nrust_target = \"thumbv7m-none-eabi\"\n\
                     uf2_family = 1\nrunner = { probe-rs = \"RP235x\" }\n";

impl Bench {
    /// probe-rs does what `probe_rs` says in sh, with `$calls` to write to.
    fn new(probe_rs: &str) -> Self {
        let place = Place::new();
        let checkout = place.path("checkout");
        script(
            &Path::new(&checkout).join("firmware/scripts/build"),
            "echo /program",
        );
        let tools = place.path("tools");
        fs::create_dir(&tools).unwrap();
        for name in ["bash", "sh", "cat", "sleep"] {
            std::os::unix::fs::symlink(format!("/bin/{name}"), format!("{tools}/{name}")).unwrap();
        }
        let calls = place.path("calls");
        let text = format!("calls={calls}; echo \"$@\" >> $calls\n{probe_rs}");
        script(&Path::new(&tools).join("probe-rs"), &text);
        let target = profile(&place, "my-board.toml", BOARD);
        Self { place, target }
    }

    fn command(&self, more: &[&str]) -> std::process::Command {
        let (model, checkout) = (self.place.model(), self.place.path("checkout"));
        let args = [
            "flash",
            &model,
            "--target",
            &self.target,
            "--repository",
            &checkout,
        ];
        let mut command = command(&[&args, more].concat());
        command
            .env("PATH", self.place.path("tools"))
            .env_remove("PROBE_RS_PROBE");
        command
    }

    fn flash(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.place.path("calls")).unwrap_or_default()
    }
}

#[test]
fn the_probe_that_is_meant_is_passed_on() {
    let bench = Bench::new("exit 0");
    let output = bench.flash(&["--probe", "2e8a:000c:E661"]);
    assert_eq!(output.status.code(), Some(0));
    let calls = bench.calls();
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(
        calls,
        [
            "download --verify --chip RP235x --probe 2e8a:000c:E661 /program",
            "reset --chip RP235x --probe 2e8a:000c:E661"
        ]
    );
    let emulated = ["flash", &bench.place.model(), "--target", "mps2-an500"];
    let output = tool(
        &[
            &emulated[..],
            &["--probe", "1:2", "--listen", "unix:/tmp/x"],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(2));
}

/// With several probes, probe-rs asks on its standard input.
#[test]
fn several_probes_are_listed_with_the_way_to_choose() {
    let bench = Bench::new(
        "if [ \"$1\" = list ]; then\n\
         echo 'The following debug probes were found:'\n\
         echo '[0]: Debug Probe -- 2e8a:000c:E661 (CMSIS-DAP)'\n\
         echo '[1]: STLink V2-1 -- 0483:374b:0669 (ST-LINK)'\n\
         exit 0\nfi\n\
         read choice || { echo 'Error: no probe selected' >&2; exit 1; }",
    );
    let start = Instant::now();
    let error = message(&bench.flash(&[]), start);
    for part in [
        "2 debug probes",
        "--probe",
        "PROBE_RS_PROBE",
        "2e8a:000c:E661",
        "0483:374b:0669",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // Who has chosen gets what probe-rs says.
    let mut chosen = bench.command(&[]);
    let output = chosen.env("PROBE_RS_PROBE", "0483:374b").output().unwrap();
    assert!(message(&output, start).contains("no probe selected"));
    let error = message(&bench.flash(&["--probe", "0483:374b"]), start);
    assert!(error.contains("no probe selected"), "{error}");
    assert!(
        error.contains("0.31.0") && error.contains("--uf2"),
        "{error}"
    );
}

#[test]
fn without_probe_rs_a_version_that_works_and_the_way_without_are_named() {
    let bench = Bench::new("");
    fs::remove_file(bench.place.path("tools/probe-rs")).unwrap();
    let error = message(&bench.flash(&[]), Instant::now());
    assert!(
        error.contains("probe-rs-tools --locked --version 0.31.0"),
        "{error}"
    );
    assert!(error.contains("--uf2 FILE"), "{error}");
}

#[test]
fn ctrl_c_ends_the_log_and_not_the_talk_after_it() {
    let bench = Bench::new("while [ ! -e $calls.end ]; do sleep 0.05; done");
    let (port, life) = bench.place.device();
    let talk = ["--logs", "--port", &port, "-p", QUESTION, "--guarantee"];
    let child = bench.command(&talk).spawn().unwrap();
    let start = Instant::now();
    while !bench.calls().starts_with("run --chip RP235x /program") {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(200));
    fs::write(bench.place.path("calls.end"), "").unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "oven");
    assert!(!errors.contains("interrupted"), "{errors}");
    life.join().unwrap();
}

#[test]
fn flash_says_where_it_builds_before_it_does() {
    let bench = Bench::new("exit 0");
    let checkout = bench.place.path("checkout");
    let output = bench.flash(&[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains(&format!("in the checkout {checkout}; ")),
        "{errors}"
    );
    assert!(
        errors.contains(&format!("{checkout}/firmware/target")),
        "{errors}"
    );
    // Outside of any checkout: the one that the tool was built in. Without tools
    // nothing is built there.
    let output = command(&["flash", &bench.place.model(), "--target", "mps2-an500"])
        .env("PATH", bench.place.path("tools"))
        .current_dir(bench.place.path(""))
        .output()
        .unwrap();
    let error = message(&output, Instant::now());
    let ours = repository().canonicalize().unwrap();
    assert!(
        error.contains(&format!("in the checkout {}; ", ours.display())),
        "{error}"
    );
    assert!(
        error.contains("building the firmware for mps2-an500 failed"),
        "{error}"
    );
}
