//! The same briquette on 64-bit Arm, in QEMU: the bits of the host.

use std::ffi::OsStr;
use std::process::Command;

use briquette::pack::WeightFormat;
use briquette_engine::kv::KvFormat;
use briquette_tests::{Packed, Run, golden_folders, repository};

/// Standard output of `tests/aarch64` with these arguments.
fn script(arguments: &[&OsStr]) -> String {
    let output = Command::new("bash")
        .arg(repository().join("tests/aarch64"))
        .args(arguments)
        // What cargo tells this test is not meant for another build.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn arm_computes_the_bits_of_the_host() {
    let program = script(&["build".as_ref()]);
    let ids: Vec<u32> = (0..40).map(|i| (i * 37 + 11) % 60).collect();
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let formats = [
        (WeightFormat::Q4, KvFormat::Q8),
        (WeightFormat::Q8, KvFormat::F16),
    ];
    for golden in golden_folders() {
        for (weights, kv) in formats {
            let packed = Packed::with_context(&golden.folder, weights, kv, 64);
            let logits = packed.logits(&Run::default(), &ids);
            let rows = logits.chunks(logits.len() / ids.len());
            let digests: Vec<String> = rows
                .map(|row| {
                    let bytes: Vec<u8> = row.iter().flat_map(|logit| logit.to_le_bytes()).collect();
                    format!("{:08x}", crc.checksum(&bytes))
                })
                .collect();
            let expected = digests.join(" ");

            let path = packed.path();
            let numbers: Vec<String> = ids.iter().map(u32::to_string).collect();
            let mut arguments: Vec<&OsStr> = vec!["run".as_ref(), program.trim().as_ref()];
            arguments.push(path.as_ref());
            arguments.extend(numbers.iter().map(OsStr::new));
            let found = script(&arguments);
            let names: Vec<&str> = found
                .lines()
                .map(|line| {
                    let (name, digests) = line.split_once(' ').unwrap();
                    assert_eq!(digests, expected, "{name}, {:?}", golden.folder);
                    name
                })
                .collect();
            assert_eq!(names, ["portable", "neon-dotprod"]);
        }
        println!("{}: the host's bits on aarch64", golden.folder.display());
    }
}
