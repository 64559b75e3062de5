//! The kernels of microcontrollers, in QEMU.

use briquette_tests::script;

/// `firmware/scripts/count` compares kernels on random numbers before it counts.
#[test]
fn all_kernels_of_microcontrollers_give_the_portable_bits() {
    let boards = [
        ("mps2-an500", ["portable", "dsp"].as_slice()),
        ("mps2-an505", &["portable", "dsp"]),
        ("mps3-an547", &["portable", "dsp", "helium"]),
    ];
    for (board, kernels) in boards {
        let output = script("firmware/scripts/count")
            .arg(board)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{board}: {text}{errors}");
        for kernel in kernels {
            for format in ["q8", "q4", "q4a"] {
                let counted = text.lines().filter(|line| {
                    let mut words = line.split_whitespace();
                    words.next() == Some(*kernel) && words.next() == Some(format)
                });
                assert_eq!(counted.count(), 5, "{kernel} {format} on {board}: {text}");
            }
        }
        println!("{text}");
    }
}
