//! Pieces of HTTP: the client, addresses, and the headers in which the Hub describes a file.

use std::time::Duration;

use ureq::http::header::{CONTENT_LENGTH, ETAG, LOCATION};
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::ModelRefError;
use super::snapshot::is_commit;

/// Time to get a connection, and to get the head of an answer.
pub(super) const CONNECT: Duration = Duration::from_secs(30);
/// Silence after which a connection counts as cut.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// How an attempt failed.
pub(super) enum Failure {
    /// Another attempt may succeed.
    Passing(ModelRefError),
    /// Another attempt would fail as well.
    Lasting(ModelRefError),
}

impl From<ModelRefError> for Failure {
    fn from(error: ModelRefError) -> Self {
        Failure::Lasting(error)
    }
}

/// What the Hub says of a file.
#[derive(Debug)]
pub(super) struct Remote {
    /// Names the blob in the cache.
    pub etag: String,
    /// In lower case, where the etag is one.
    pub sha256: Option<String>,
    pub size: Option<u64>,
    pub commit: Option<String>,
}

pub(super) fn agent() -> Agent {
    Agent::config_builder()
        .user_agent(concat!("amend/", env!("CARGO_PKG_VERSION")))
        // A compressed answer would make offsets and digests those of other bytes.
        .accept_encoding("identity")
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .build()
        .into()
}

pub(super) fn server(url: &str, detail: &str) -> ModelRefError {
    ModelRefError::Server {
        url: url.to_owned(),
        detail: detail.to_owned(),
    }
}

pub(super) fn redirect(response: &Response<Body>) -> Option<String> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    Some(location.to_owned())
}

pub(super) fn remote(url: &str, response: &Response<Body>) -> Result<Remote, Failure> {
    let headers = response.headers();
    let etag = header(headers, "x-linked-etag").or_else(|| header(headers, ETAG.as_str()));
    let etag = etag.ok_or_else(|| server(url, "the answer has no ETag"))?;
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    // It becomes a file name.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if etag.is_empty() || etag.len() > 128 || !etag.bytes().all(plain) {
        return Err(server(url, "the answer has an unusable ETag").into());
    }
    // Of a redirect, the length is that of the redirect.
    let own_length =
        header(headers, CONTENT_LENGTH.as_str()).filter(|_| !response.status().is_redirection());
    let size = header(headers, "x-linked-size").or(own_length);
    let is_sha256 = etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit());
    Ok(Remote {
        sha256: is_sha256.then(|| etag.to_ascii_lowercase()),
        etag,
        size: size.and_then(|size| size.parse().ok()),
        commit: header(headers, "x-repo-commit")
            .filter(|commit| is_commit(commit))
            .map(str::to_owned),
    })
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Scheme, host and port of an address.
pub(super) fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Percent-encodes one segment of a path.
pub(super) fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_encoded() {
        assert_eq!(origin("http://a:8/x/y"), "http://a:8");
        assert_eq!(origin("https://a"), "https://a");
        assert_eq!(encode("a b#ü.gguf"), "a%20b%23%C3%BC.gguf");
    }
}
