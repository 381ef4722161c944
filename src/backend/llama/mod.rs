//! In-process llama.cpp.

pub mod tokenizer;
