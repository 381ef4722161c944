//! In-process llama.cpp.

pub mod gguf;
pub mod model_ref;
