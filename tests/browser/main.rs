//! The viewer and the report as a person sees them: the real program, a real headless Chromium.
//!
//! `scripts/setup test` installs what this needs. A test without it fails and says so.

mod address;
mod browser;
#[path = "../cli/builder.rs"]
#[allow(dead_code)]
mod builder;
mod driver;
mod filters;
mod labels;
mod live;
mod network;
mod outside;
mod report;
mod screenshots;
mod stores;
mod unsaved;
mod viewer;
