fn main() {
    build_model::main_with_expert_slots();
}
