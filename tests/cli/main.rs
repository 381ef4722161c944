//! The whole program, run as a person runs it: on the scripted backend with snapshots, and on the real
//! default model.

mod bad_input;
mod builder;
mod comparing;
mod constitution;
mod datasets;
mod disk;
mod eval;
mod gates;
mod interrupt;
mod judging;
mod kill;
mod labels;
mod live;
#[path = "../support/model.rs"]
mod model;
mod principle_tests;
mod real_model;
mod report;
mod scripted;
mod stdout;
mod stress;
mod view;
