//! Requests: tried again where another attempt may succeed, and the token for the Hub's own address only.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use ureq::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER,
};
use ureq::http::{HeaderMap, Method, Request, Response};
use ureq::{Agent, Body, SendBody};

use super::Hub;

/// The most bytes of an answer.
const MAX_BODY: u64 = 64 << 20;
/// Time to get a connection.
const CONNECT: Duration = Duration::from_secs(30);
/// Time in which the head of an answer must come, once everything is sent.
const ANSWER: Duration = Duration::from_secs(300);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Characters of the Hub's own words in an error.
const MAX_WORDS: usize = 300;

/// What is sent.
pub(super) enum Sent<'a> {
    Nothing,
    Text {
        kind: &'a str,
        text: Vec<u8>,
    },
    /// A part of a file.
    Part {
        path: &'a Path,
        start: u64,
        bytes: u64,
    },
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the request was done.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null for anything else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The ETag, as S3 gives one for a part.
    pub fn etag(&self) -> Option<String> {
        let etag = self.headers.get(ETAG)?.to_str().ok()?;
        (!etag.is_empty()).then(|| etag.to_owned())
    }

    /// Where the Hub says that the answer is.
    pub fn location(&self) -> Option<&str> {
        let moved = (300..400).contains(&self.status);
        self.headers.get(LOCATION).filter(|_| moved)?.to_str().ok()
    }

    /// What the Hub says, made fit for a message.
    pub fn words(&self) -> String {
        let json = self.json();
        let told = json["error"].as_str().or(json["message"].as_str());
        let header = || {
            self.headers
                .get("x-error-message")
                .and_then(|text| text.to_str().ok())
        };
        let text = match told.or_else(header) {
            Some(text) => text.to_owned(),
            None => String::from_utf8_lossy(&self.body).into_owned(),
        };
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let line: String = line
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_WORDS)
            .collect();
        match line.is_empty() {
            true => format!("status {}", self.status),
            false => line,
        }
    }
}

/// Sends requests.
pub(super) struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
}

impl<'a> Client<'a> {
    pub fn new(hub: &'a Hub) -> Self {
        let agent = Agent::config_builder()
            .user_agent(concat!("amend/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // A redirect could lead the token elsewhere.
            .max_redirects(0)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .build()
            .into();
        Self { hub, agent }
    }

    /// Sends one request, several times where need be. The error says why none was answered; any status that
    /// another attempt would get as well is an answer. `retry` is told why there is another attempt.
    pub fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        sent: &Sent<'_>,
        retry: &mut dyn FnMut(String),
    ) -> Result<Answer, String> {
        let mut wait = self.hub.backoff;
        for attempt in 1.. {
            let (why, asked) = match self.once(method, url, headers, sent) {
                Ok(answer) if !passes(answer.status) => return Ok(answer),
                Ok(answer) => (
                    format!("{}: {}", answer.status, answer.words()),
                    retry_after(&answer),
                ),
                Err(error) => (error, None),
            };
            if attempt >= self.hub.attempts.max(1) {
                return Err(why);
            }
            retry(why);
            thread::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT));
            wait *= 2;
        }
        Err("no attempt was made".to_owned())
    }

    fn once(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        sent: &Sent<'_>,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method.clone()).uri(url);
        if self.is_hub(url) {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.hub.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let response = match sent {
            Sent::Nothing => {
                let request = request.body(()).map_err(|error| failed(&error))?;
                self.agent.run(request)
            }
            Sent::Text { kind, text } => {
                let request = request.header(CONTENT_TYPE, *kind).body(&text[..]);
                self.agent.run(request.map_err(|error| failed(&error))?)
            }
            Sent::Part { path, start, bytes } => {
                let mut part = part(path, *start, *bytes).map_err(|error| failed(&error))?;
                let body = SendBody::from_reader(&mut part);
                let request = request.header(CONTENT_LENGTH, bytes.to_string()).body(body);
                self.agent.run(request.map_err(|error| failed(&error))?)
            }
        };
        let response = response.map_err(|error| failed(&error))?;
        answer(response)
    }

    /// Whether an address is the Hub's own, so that it may see the token.
    pub fn is_hub(&self, url: &str) -> bool {
        let rest = url.strip_prefix(&self.hub.endpoint);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    }
}

fn answer(mut response: Response<Body>) -> Result<Answer, String> {
    let body = response
        .body_mut()
        .with_config()
        .limit(MAX_BODY)
        .read_to_vec();
    Ok(Answer {
        status: response.status().as_u16(),
        body: body.map_err(|error| error.to_string())?,
        headers: response.headers().clone(),
    })
}

fn part(path: &Path, start: u64, bytes: u64) -> io::Result<io::Take<File>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    Ok(file.take(bytes))
}

/// Whether another attempt may be answered otherwise.
fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429) || status >= 500
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds = answer.headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
