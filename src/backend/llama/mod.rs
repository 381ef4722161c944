//! In-process llama.cpp.
