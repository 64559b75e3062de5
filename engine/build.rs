//! Chooses the kernels for Arm microcontrollers by target: stable Rust shows
//! neither the profile nor the DSP extension to `cfg`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(dsp, helium)");
    let target = env::var("TARGET").unwrap_or_default();
    // The kernels use floating-point registers, so the target must have them.
    if target.ends_with("-none-eabihf") {
        if target.starts_with("thumbv7em-") {
            println!("cargo::rustc-cfg=dsp");
        } else if target.starts_with("thumbv8m.main-") {
            // Which of the two a core has is only known when it runs.
            println!("cargo::rustc-cfg=dsp");
            println!("cargo::rustc-cfg=helium");
        }
    }
}
