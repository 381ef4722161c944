//! Servers that answer over HTTP, against one in the test that also misbehaves.

#[path = "../cli/builder.rs"]
#[allow(dead_code)]
mod builder;
mod in_flight;
mod llama_server;
mod odd;
mod program;
mod requests;
mod server;
