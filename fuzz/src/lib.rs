//! The modules of the program that the fuzz targets need.

#![allow(dead_code)]

#[path = "../../src/chain.rs"]
pub mod chain;
#[path = "../../src/constitution/mod.rs"]
pub mod constitution;
#[path = "../../src/digest.rs"]
pub mod digest;
#[path = "../../src/generation.rs"]
pub mod generation;
#[path = "../../src/prompt.rs"]
pub mod prompt;
#[path = "../../src/template/mod.rs"]
pub mod template;
#[path = "../../src/verdict.rs"]
pub mod verdict;
