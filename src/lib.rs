//! Amend: a constitutional self-critique engine.
//!
//! A local model drafts a response to a prompt, criticises it against the principles of a written
//! [constitution], and revises it. Every [chain] of draft, critiques and revisions is kept in one
//! SQLite [store], and chains become a fine-tuning dataset.
//!
//! Data enters at the left, is written once, and is read by everything at the right:
//!
//! ```text
//! prompt file ─▶ engine (many chains in flight) ⇄ backend (one model)
//!                     │
//!                     ▼
//!                   store ─▶ inspect · export
//! ```
//!
//! The modules in reading order: the domain ([`prompt`], [`constitution`], [`generation`],
//! [`verdict`], [`chain`], [`judgement`], [`digest`], [`diff`], [`statistics`], [`likelihood`]) is plain
//! data and rules, without input or output. The adapters
//! ([`dataset`], [`template`], [`chat_template`], [`backend`]) bring prompts, templates and models in.
//! The [`engine`] runs chains, the [`store`] keeps them, [`evaluation`] tests
//! principles, [`quality`] says what is worth learning from, [`export`] writes datasets, [`publish`] uploads
//! them, [`view`] shows chains in a browser, and [`cli`] is the only module that prints.

pub mod backend;
pub mod chain;
pub mod chat_template;
pub mod cli;
pub mod constitution;
pub mod dataset;
pub mod diff;
pub mod digest;
pub mod engine;
pub mod evaluation;
pub mod export;
pub mod generation;
pub mod judgement;
pub mod likelihood;
pub mod prompt;
pub mod publish;
pub mod quality;
pub mod statistics;
pub mod store;
pub mod template;
pub mod verdict;
pub mod view;
