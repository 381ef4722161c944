//! Requests to the server: JSON in, JSON out, tried again where another attempt may succeed.
//!
//! Nothing here knows what is asked. Answers are limited in size, attempts in time, and the access
//! token is sent to the server's own address only: redirects are not followed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, Body};

use crate::backend::BackendError;

use super::address::{Address, Secret};
use super::stop::Stop;

/// The most bytes of an answer.
const MAX_BODY: u64 = 16 * 1024 * 1024;
/// Time to get a connection.
const CONNECT: Duration = Duration::from_secs(30);
/// The longest wait between two attempts, also where the server asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Servers close idle connections; those of cpp-httplib after five seconds.
const IDLE: Duration = Duration::from_secs(4);
/// Characters of a server's own words in an error.
const MAX_WORDS: usize = 300;

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CallError {
    /// The server understood and refuses: a status that another attempt would get as well.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body, where it is JSON.
        body: Value,
        /// What the server says, made fit for a message.
        words: String,
    },
    /// Anything else.
    Failed(BackendError),
}

impl From<CallError> for BackendError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused { status, words, .. } => {
                BackendError::Inference(format!("the server answers {status}: {words}"))
            }
            CallError::Failed(error) => error,
        }
    }
}

/// How one attempt failed.
enum Failure {
    /// Another attempt may succeed, after the time that the server asks for.
    Passing {
        what: String,
        wait: Option<Duration>,
        /// If it lasts, no other request will be answered either.
        unreachable: bool,
    },
    /// Another attempt would fail as well.
    Lasting(CallError),
}

impl Failure {
    fn passing(what: impl Into<String>) -> Self {
        Failure::Passing {
            what: what.into(),
            wait: None,
            unreachable: false,
        }
    }

    fn lasting(what: impl Into<String>) -> Self {
        Failure::Lasting(CallError::Failed(BackendError::Inference(what.into())))
    }
}

/// How patient a [`Client`] is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// Time for one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
    /// Wait before the second attempt; it doubles with every further one.
    pub backoff: Duration,
}

/// One server.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    address: Address,
    token: Option<Secret>,
    patience: Patience,
    stop: Arc<Stop>,
    /// Whether it has answered anything that was sent to it.
    answered: AtomicBool,
}

/// What is asked.
#[derive(Clone, Copy)]
struct Question<'a> {
    path: &'a str,
    body: Option<&'a [u8]>,
    /// Whether only some servers know the answer.
    probing: bool,
}

impl Client {
    pub(super) fn new(
        address: Address,
        token: Option<Secret>,
        patience: Patience,
        connections: usize,
        stop: Arc<Stop>,
    ) -> Self {
        let mut config = Agent::config_builder()
            .user_agent(concat!("amend/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .max_idle_age(IDLE)
            .timeout_connect(Some(CONNECT.min(patience.timeout)))
            .timeout_global(Some(patience.timeout));
        if address.is_local {
            config = config.proxy(None);
        }
        Self {
            agent: config.build().into(),
            address,
            token,
            patience,
            stop,
            answered: AtomicBool::new(false),
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, CallError> {
        self.call(Question {
            path,
            body: None,
            probing: false,
        })
    }

    /// Asks for what only some servers have. The others refuse, or have the same page for people at every path.
    pub(super) fn probe(&self, path: &str) -> Result<Value, CallError> {
        self.call(Question {
            path,
            body: None,
            probing: true,
        })
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        let answer = self.call(Question {
            path,
            body: Some(body.to_string().as_bytes()),
            probing: false,
        })?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(answer)
    }

    fn call(&self, question: Question<'_>) -> Result<Value, CallError> {
        let mut attempt = 0;
        loop {
            if self.stop.is_set() {
                return Err(CallError::Failed(BackendError::Stopped));
            }
            let (what, wait, unreachable) = match self.once(question) {
                Ok(value) => return Ok(value),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing {
                    what,
                    wait,
                    unreachable,
                }) => (what, wait, unreachable),
            };
            let wait = wait.unwrap_or_else(|| self.back_off(attempt));
            if attempt >= self.patience.retries || wait > LONGEST_WAIT {
                return Err(CallError::Failed(self.gave_up(
                    &what,
                    attempt,
                    wait,
                    unreachable,
                )));
            }
            tracing::warn!(
                "{}: {what}; trying again in {:.1} s",
                self.address,
                wait.as_secs_f64()
            );
            if self.stop.wait(wait) {
                return Err(CallError::Failed(BackendError::Stopped));
            }
            attempt += 1;
        }
    }

    /// Doubles with every attempt, less up to a quarter, so that threads do not all come back at once.
    fn back_off(&self, attempt: u32) -> Duration {
        let base = self.patience.backoff.as_secs_f64();
        let doubled = (base * 2f64.powi(attempt.min(30).cast_signed())).min(60.0);
        Duration::from_secs_f64(doubled * (1.0 - random_share() / 4.0))
    }

    fn gave_up(&self, what: &str, attempt: u32, wait: Duration, unreachable: bool) -> BackendError {
        let tries = match attempt {
            0 => String::new(),
            n => format!(" ({} attempts)", n + 1),
        };
        let later = if wait > LONGEST_WAIT {
            format!("; it asks to wait {} s", wait.as_secs())
        } else {
            String::new()
        };
        let text = format!("{}: {what}{tries}{later}", self.address);
        if unreachable {
            BackendError::Unreachable(text)
        } else {
            BackendError::Inference(text)
        }
    }

    fn once(&self, question: Question<'_>) -> Result<Value, Failure> {
        let url = format!("{}{}", self.address, question.path);
        let bearer = self.token.as_ref().map(Secret::bearer);
        let answer = match question.body {
            None => {
                let mut request = self.agent.get(&url);
                if let Some(bearer) = &bearer {
                    request = request.header(AUTHORIZATION, bearer);
                }
                request.call()
            }
            Some(body) => {
                let mut request = self
                    .agent
                    .post(&url)
                    .header(CONTENT_TYPE, "application/json");
                if let Some(bearer) = &bearer {
                    request = request.header(AUTHORIZATION, bearer);
                }
                request.send(body)
            }
        };
        let mut answer = answer.map_err(|error| self.failed(&error))?;
        let bytes = read(answer.body_mut()).map_err(|error| self.failed(&error))?;
        self.judge(answer.status(), answer.headers(), question, &bytes)
    }

    /// What an answer that came whole means.
    fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        question: Question<'_>,
        bytes: &[u8],
    ) -> Result<Value, Failure> {
        let parsed = serde_json::from_slice::<Value>(bytes);
        let code = code(status, parsed.as_ref().ok());
        let success = (200..300).contains(&code);
        // An object or a list that breaks off is an answer all the same, and comes whole another time.
        let no_json =
            parsed.is_err() && !matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
        if question.probing && (status.is_redirection() || code == 403 || success && no_json) {
            return Err(Failure::Lasting(CallError::Refused {
                status: code,
                body: Value::Null,
                words: "it has no such page".to_owned(),
            }));
        }
        if success {
            return parsed.map_err(|_| {
                Failure::passing(format!("the answer is not JSON: {}", clean(&lossy(bytes))))
            });
        }
        let body = parsed.unwrap_or(Value::Null);
        let words = words(&body, bytes);
        if status.is_redirection() {
            return Err(Failure::lasting(format!(
                "{}: the server redirects to another address; give that one",
                self.address
            )));
        }
        // Some services forbid what a request says. One that has answered others takes the token; before it has,
        // those that are under way are waited for.
        let forbidden = code == 403 && self.answered.load(Ordering::Relaxed);
        if matches!(code, 401 | 403) && !forbidden {
            let hint = match self.token {
                None => "it wants an access token (AMEND_API_KEY)",
                Some(_) => "it refuses the access token (AMEND_API_KEY)",
            };
            let what = format!("the server answers {code}: {words}; {hint}");
            if code == 403 && question.body.is_some() {
                return Err(Failure::Passing {
                    what,
                    wait: retry_after(headers),
                    unreachable: true,
                });
            }
            return Err(Failure::Lasting(CallError::Failed(
                BackendError::Unreachable(format!("{}: {what}", self.address)),
            )));
        }
        let refused = CallError::Refused {
            status: code,
            body,
            words: words.clone(),
        };
        // Some servers call a request that is too long an error of their own.
        if is_passing(code) && super::context::exceeded(&refused).is_none() {
            return Err(Failure::Passing {
                what: format!("the server answers {code}: {words}"),
                wait: retry_after(headers),
                unreachable: false,
            });
        }
        tracing::debug!("{}: {code}: {words}", question.path);
        Err(Failure::Lasting(refused))
    }

    /// What it means that no whole answer came.
    fn failed(&self, error: &ureq::Error) -> Failure {
        let seconds = self.patience.timeout.as_secs_f64();
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                unreachable("no connection in time")
            }
            ureq::Error::Timeout(_) => {
                Failure::passing(format!("no whole answer within {seconds} s"))
            }
            ureq::Error::HostNotFound => unreachable("there is no host of this name"),
            ureq::Error::ConnectionFailed => unreachable("no connection"),
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                unreachable("nothing listens there (connection refused)")
            }
            ureq::Error::Io(error) => Failure::passing(format!("the connection broke: {error}")),
            ureq::Error::Protocol(error) => {
                Failure::passing(format!("the answer breaks off or is not HTTP: {error}"))
            }
            ureq::Error::BodyExceedsLimit(limit) => Failure::lasting(format!(
                "{}: the answer is larger than {} MiB",
                self.address,
                limit >> 20
            )),
            error => Failure::lasting(format!("{}: {error}", self.address)),
        }
    }
}

fn unreachable(what: &str) -> Failure {
    Failure::Passing {
        what: what.to_owned(),
        wait: None,
        unreachable: true,
    }
}

/// Between 0 and 1. Seeded by the system, which is all that a jitter needs.
fn random_share() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let hash = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    hash as f64 / u64::MAX as f64
}

fn read(body: &mut Body) -> Result<Vec<u8>, ureq::Error> {
    body.with_config().limit(MAX_BODY).read_to_vec()
}

/// The time that the server asks to wait: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = date.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}

/// Whether another attempt may succeed after this status. Gateways have codes of their own above 500; what a server
/// does not know how to do (501, 505) it does not know the next time either.
fn is_passing(code: u16) -> bool {
    matches!(code, 408 | 425 | 429) || ((500..600).contains(&code) && !matches!(code, 501 | 505))
}

/// The status of an answer. Some gateways pass on another server's error under a status of success.
fn code(status: StatusCode, body: Option<&Value>) -> u16 {
    let said = body
        .filter(|_| status.is_success())
        .and_then(|body| {
            let code = body.pointer("/error/code")?;
            // Some write the number as a text.
            code.as_u64().or_else(|| code.as_str()?.parse().ok())
        })
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code));
    said.unwrap_or(status.as_u16())
}

/// What the server says of an error, in the places where servers say it.
fn words(body: &Value, bytes: &[u8]) -> String {
    let said = [
        "/error/message",
        "/message",
        "/detail",
        "/error",
        "/detail/0/msg",
    ]
    .iter()
    .find_map(|place| body.pointer(place)?.as_str());
    match said {
        Some(text) => clean(text),
        None if bytes.iter().all(u8::is_ascii_whitespace) => "it says nothing more".to_owned(),
        None => clean(&lossy(bytes)),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX_WORDS)]).into_owned()
}

/// A server's words on one line, without characters that a terminal would obey, and not too long.
pub(super) fn clean(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_WORDS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_that_a_server_asks_for_is_seconds_or_a_date() {
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(wait("Wed, 21 Oct 2099 07:28:00 GMT").unwrap() > Duration::from_secs(3600));
        for bad in ["soon", "-1", "NaN"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits_double_up_to_a_minute_less_up_to_a_quarter() {
        let address = Address::parse("http://127.0.0.1:1").unwrap();
        let patience = Patience {
            timeout: Duration::from_secs(1),
            retries: 5,
            backoff: Duration::from_millis(500),
        };
        let client = Client::new(address, None, patience, 1, Arc::default());
        for (attempt, most) in [(0, 0.5), (1, 1.0), (3, 4.0), (9, 60.0), (u32::MAX, 60.0)] {
            let wait = client.back_off(attempt).as_secs_f64();
            assert!((0.75 * most..=most).contains(&wait), "{attempt}: {wait}");
        }
    }

    #[test]
    fn a_servers_words_cannot_drive_the_terminal() {
        let body = serde_json::json!({"error": {"message": "no\u{1b}[2J\nway"}});
        assert_eq!(words(&body, b""), "no [2J way");
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), MAX_WORDS + 1);
        assert_eq!(words(&Value::Null, b" \n"), "it says nothing more");
    }
}
