//! The whole program, run as a person runs it: on the scripted backend with snapshots, and on the real
//! default model.

mod bad_input;
mod builder;
mod constitution;
mod kill;
mod real_model;
mod scripted;
