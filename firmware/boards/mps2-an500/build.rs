fn main() {
    build_model::main_with_slots();
}
