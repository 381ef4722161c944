//! The viewer: the pages of a store, served by this program on the loopback address.
//!
//! A page is one document with hand-written modules (`assets/`), which ask for JSON:
//!
//! ```text
//! GET  /api/info                        runs, principles, keys of filters
//! GET  /api/chains?q=&sort=&offset=     a page of the chains that match a filter, and how many do
//! GET  /api/charts?q=                   figures of the chains that match
//! GET  /api/chains/ID?q=&sort=          a whole chain, and its neighbours within the filter
//! GET  /api/chains/ID/steps/N           the messages that the model saw at a step
//! GET  /api/runs/ID                     the constitution of a run, with figures
//! GET  /api/compare?a=&b=&differs=      two runs side by side
//! GET  /api/events                      server-sent events: something was written
//! POST /api/chains/ID/labels            what a person says about a chain
//! POST /api/labels                      the same about all that match a filter
//! ```
//!
//! What is wrong comes as `{"error": {"message", "column"}}`; with `lenient=true` a filter that is wrong is no failed
//! request, since browsers note each of those.
//!
//! **Who may ask** is decided in one place ([`guard`]): whoever has the token of this process, from a page
//! of this server. Nothing but labels is ever written.

mod api;
mod assets;
mod chain;
mod compare;
mod error;
mod figures;
mod guard;
mod labels;
mod live;
mod pool;
pub mod report;
mod server;

pub use assets::{Asset, assets};
pub use chain::{ChainPage, Context};
pub use server::{Options, Server, ViewError};
