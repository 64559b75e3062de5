fn main() {
    build_model::main();
}
