//! Links the program so that it can be searched.

fn main() {
    // It is never started: it needs no memory of a real board, but what was
    // linked has to say who calls whom.
    for argument in ["--entry=inference", "--gc-sections", "--emit-relocs"] {
        println!("cargo::rustc-link-arg={argument}");
    }
}
