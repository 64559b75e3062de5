//! The same briquette on 64-bit Arm, in QEMU: the bits of the host.

use briquette::pack::WeightFormat;
use briquette_engine::quant::KvFormat;
use briquette_tests::{Packed, Run, digests, golden_folders, printed, script};

#[test]
fn arm_computes_the_bits_of_the_host() {
    let program = printed(script("tests/aarch64").arg("build"));
    let ids: Vec<u32> = (0..40).map(|i| (i * 37 + 11) % 60).collect();
    let formats = [
        (WeightFormat::Q4, KvFormat::Q8),
        (WeightFormat::Q8, KvFormat::F16),
    ];
    for golden in golden_folders() {
        for (weights, kv) in formats {
            let packed = Packed::with_context(&golden.folder, weights, kv, 64);
            let logits = packed.logits(&Run::default(), &ids);
            let digests = digests(&logits, ids.len());
            let digests: Vec<String> = digests.iter().map(|crc| format!("{crc:08x}")).collect();
            let expected = digests.join(" ");

            let mut run = script("tests/aarch64");
            run.args(["run", program.trim()]).arg(packed.path());
            let found = printed(run.args(ids.iter().map(u32::to_string)));
            let names: Vec<&str> = found
                .lines()
                .map(|line| {
                    let (name, digests) = line.split_once(' ').unwrap();
                    assert_eq!(digests, expected, "{name}, {:?}", golden.folder);
                    name
                })
                .collect();
            assert_eq!(names, ["portable", "neon-dotprod", "neon-i8mm"]);
        }
        println!("{}: the host's bits on aarch64", golden.folder.display());
    }
}
