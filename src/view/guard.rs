//! Who may ask: whoever has this process's token, from a page of this server.
//!
//! A web page from elsewhere can make a browser send requests to the loopback address, and a name that is
//! made to point there can read the answers. So a request must name this server as its `Host`, must not
//! come from another origin, and must carry the token: in the address that the program prints, in the cookie
//! that the first page sets, or in an `Authorization: Bearer` header. Browsers send the cookie to other
//! ports of this machine as well, so whoever runs servers on it for other people should use another account.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// Scripts and styles of this server and nothing else; markup is never made of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What a request is held against.
pub struct Guard {
    token: String,
    port: u16,
    read_only: bool,
}

impl Guard {
    /// A guard with a token of 256 bits from the system's randomness.
    pub fn new(port: u16, read_only: bool) -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self {
            token: blake3::Hash::from_bytes(bytes).to_hex().to_string(),
            port,
            read_only,
        })
    }

    /// The token, in hexadecimal digits.
    pub fn token(&self) -> &str {
        &self.token
    }

    fn knows(&self, token: &str) -> bool {
        // Comparing hashes takes the same time wherever they differ.
        blake3::hash(token.as_bytes()) == blake3::hash(self.token.as_bytes())
    }

    fn is_own(&self, host: &str) -> bool {
        let own = |name| host == format!("{name}:{}", self.port);
        // Browsers leave port 80 out.
        let bare = self.port == 80 && ["127.0.0.1", "localhost"].contains(&host);
        own("127.0.0.1") || own("localhost") || bare
    }

    fn cookie_name(&self) -> String {
        format!("amend-view-{}", self.port)
    }

    /// The cookie that takes the token's place in the address.
    fn cookie(&self) -> Option<HeaderValue> {
        let name = self.cookie_name();
        let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Strict", self.token);
        HeaderValue::from_str(&cookie).ok()
    }

    /// How a request may be answered, or why not.
    fn admit(&self, request: &Request) -> Result<Admitted, ApiError> {
        let refuse = |message: &str| Err(ApiError::new(StatusCode::FORBIDDEN, message));
        let headers = request.headers();
        let host = text(headers, &header::HOST).or_else(|| request.uri().host());
        if !host.is_some_and(|host| self.is_own(host)) {
            return refuse("this server answers to 127.0.0.1 and localhost only");
        }
        let origin = text(headers, &header::ORIGIN);
        let own_origin = |origin: &str| {
            origin
                .strip_prefix("http://")
                .is_some_and(|o| self.is_own(o))
        };
        if headers.contains_key(header::ORIGIN) && !origin.is_some_and(own_origin) {
            return refuse("requests from other origins are refused");
        }
        let read = [Method::GET, Method::HEAD].contains(request.method());
        let elsewhere = matches!(
            text(headers, &SEC_FETCH_SITE),
            Some("cross-site" | "same-site")
        );
        // A link to the printed address is followed, from wherever it is.
        let followed = read && text(headers, &SEC_FETCH_MODE) == Some("navigate");
        if elsewhere && !followed {
            return refuse("requests from other sites are refused");
        }
        let by_query = query_token(request.uri().query()).is_some_and(|t| self.knows(t));
        let bearer =
            text(headers, &header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let by_header = bearer.is_some_and(|token| self.knows(token));
        let name = self.cookie_name();
        let by_cookie = cookies(headers).any(|(n, token)| n == name && self.knows(token));
        if !by_query && !by_header && !by_cookie {
            return refuse(
                "the token is missing or wrong; open the address that `amend view` printed",
            );
        }
        if !read {
            if self.read_only {
                return Err(ApiError::read_only());
            }
            if !by_header && origin.is_none() {
                return refuse("a request that writes must say its origin");
            }
        }
        Ok(Admitted { by_query })
    }
}

struct Admitted {
    by_query: bool,
}

/// Answers what may be answered, and says to the browser how to treat every answer.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let admitted = guard.admit(&request);
    let api = request.uri().path().starts_with("/api/");
    let mut response = match admitted {
        Err(error) if api => error.into_response(),
        Err(error) => error.into_text(),
        Ok(admitted) => {
            let mut response = next.run(request).await;
            let cookie = guard.cookie().filter(|_| admitted.by_query);
            if let Some(cookie) = cookie {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
    };
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn query_token(query: Option<&str>) -> Option<&str> {
    query?
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}
