//! The pages' own files, part of the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// A file of the pages.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its name, as pages refer to it.
    pub name: &'static str,
    /// Its media type.
    pub kind: &'static str,
    /// Its text.
    pub text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal: $kind:expr,)*) => {
        &[$(Asset { name: $name, kind: $kind, text: include_str!(concat!("assets/", $name)) },)*]
    };
}

const ASSETS: &[Asset] = files! {
    "index.html": HTML,
    "icon.svg": SVG,
    "base.css": CSS,
    "list.css": CSS,
    "chain.css": CSS,
    "app.js": SCRIPT,
    "charts.js": SCRIPT,
    "dom.js": SCRIPT,
    "drafts.js": SCRIPT,
    "filter.js": SCRIPT,
    "filterbox.js": SCRIPT,
    "format.js": SCRIPT,
    "keys.js": SCRIPT,
    "labels.js": SCRIPT,
    "main.js": SCRIPT,
    "main-report.js": SCRIPT,
    "messages.js": SCRIPT,
    "page-chain.js": SCRIPT,
    "page-compare.js": SCRIPT,
    "page-constitution.js": SCRIPT,
    "page-list.js": SCRIPT,
    "route.js": SCRIPT,
    "source-report.js": SCRIPT,
    "source-server.js": SCRIPT,
    "text.js": SCRIPT,
};

/// Every file of the pages. All but `main.js` and `source-server.js`, which ask a server, serve a page
/// that carries its data as well.
pub fn assets() -> &'static [Asset] {
    ASSETS
}

/// The file of the given name.
pub fn find(name: &str) -> Option<Asset> {
    ASSETS.iter().copied().find(|asset| asset.name == name)
}

/// The page.
pub fn index() -> Response {
    // The first of the list.
    ASSETS[0].respond()
}

impl Asset {
    /// The file as an answer.
    pub fn respond(self) -> Response {
        ([(header::CONTENT_TYPE, self.kind)], self.text).into_response()
    }
}
