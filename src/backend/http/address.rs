//! Where a server is, and the token that opens it. Pure.

use std::fmt;

use crate::backend::BackendError;

/// An access token. It is sent, and neither printed nor stored.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a token as it stands in the environment. `None` where it is blank; an error where no
    /// header can carry it.
    pub fn new(text: &str) -> Result<Option<Self>, BackendError> {
        let text = text.trim();
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(BackendError::Load(
                "the access token holds characters that no header can carry".to_owned(),
            ));
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// The value of the header `Authorization`.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A server's address, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host, port and path, without `/v1` and without a slash at the end.
    root: String,
    pub(super) is_local: bool,
}

impl Address {
    /// Reads `http://HOST[:PORT][/PATH]`, with or without `/v1` at its end.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri: ureq::http::Uri = url
            .trim()
            .parse()
            .map_err(|error| format!("{url}: not an address ({error})"))?;
        let host = uri.host().unwrap_or("");
        if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_empty() {
            return Err(format!(
                "{url}: not an address of a server; give one such as http://127.0.0.1:8080"
            ));
        }
        // Neither is repeated in the message: it may be the secret.
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) || uri.query().is_some() {
            return Err(
                "the address of the server must hold neither a user nor a query, since it is kept \
                 with the run; a token goes into the environment"
                    .to_owned(),
            );
        }
        let root = url.trim().trim_end_matches('/');
        let root = root.strip_suffix("/v1").unwrap_or(root);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_local = bare == "localhost"
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        Ok(Self {
            root: root.trim_end_matches('/').to_owned(),
            is_local,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_lose_their_version() {
        let root = |url: &str| Address::parse(url).unwrap().to_string();
        assert_eq!(root("http://a:8080"), "http://a:8080");
        assert_eq!(root("http://a:8080/v1/"), "http://a:8080");
        assert_eq!(root("https://a/llm/v1"), "https://a/llm");
        assert!(Address::parse("http://127.0.0.1:1").unwrap().is_local);
        assert!(Address::parse("http://[::1]:1").unwrap().is_local);
        assert!(!Address::parse("http://10.0.0.1").unwrap().is_local);
        for bad in ["a:8080", "ftp://a", "", "http://", "/v1", "http://a b"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_with_a_secret_is_refused_without_repeating_it() {
        for bad in ["http://me:hidden@a", "http://a/?key=hidden"] {
            let error = Address::parse(bad).unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = Secret::new(" abc\n").unwrap().unwrap();
        assert_eq!(token.0, "abc");
        assert!(!format!("{token:?}").contains("abc"));
        assert!(Secret::new(" ").unwrap().is_none());
        assert!(Secret::new("a\nb").is_err());
    }
}
