//! Tokenizer import tests.
