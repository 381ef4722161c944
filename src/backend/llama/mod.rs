//! In-process llama.cpp: the only room that names `llama_cpp_2`.

pub mod sampling;
pub mod scheduler;
pub mod shape;
pub mod text_value;
