//! Puts the briquette into the program, and reserves the memory that it needs.

fn main() {
    build_model::main_with_expert_slots();
}
