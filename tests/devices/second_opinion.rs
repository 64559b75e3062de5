//! Burn's executor on a microcontroller, in QEMU: the bits of the static executor
//! there, and of the host.

use briquette::pack::WeightFormat;
use briquette_engine::quant::KvFormat;
use briquette_tests::{Packed, Run, digests, printed, repository, script};

#[test]
fn burn_computes_the_hosts_bits_in_a_fixed_heap() {
    let sentry = repository().join("models/sentry");
    let packed = Packed::with_context(&sentry, WeightFormat::Q4, KvFormat::Q8, 128);
    let blob = packed.file.blob().unwrap();
    let vocab_size = blob.manifest().config.vocab_size;
    let ids: Vec<u32> = (0..24).map(|i| i * 37 % vocab_size).collect();
    let expected = digests(&packed.logits(&Run::default(), &ids), ids.len());
    let log = printed(script("firmware/scripts/second-opinion").arg(packed.path()));
    for executor in ["static", "flex", "ndarray"] {
        assert_eq!(digests_of(executor, &log), expected, "{log}");
    }
    for line in log.lines().filter(|line| line.contains(" bytes")) {
        println!("{line}");
    }
}

/// What the board has logged of one executor.
fn digests_of(executor: &str, log: &str) -> Vec<u32> {
    let start = format!("info  {executor} ");
    let lines = log.lines().filter_map(|line| line.strip_prefix(&start));
    let digests = lines.filter_map(|line| line.split_once(" 0x"));
    digests
        .map(|(_, crc)| u32::from_str_radix(crc, 16).unwrap())
        .collect()
}
