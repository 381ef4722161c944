//! Requests to the Hub: what a repository holds, what a file is, and its bytes from an offset.
//!
//! The listing goes through `hf-hub`. Its downloader is not used: it takes a whole answer to a request
//! for a range as that range, compares no digest, and knows no time limit.

use std::thread;
use std::time::Duration;

use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body, Timeout};

use super::http::{
    self, CONNECT, Failure, Remote, SILENCE, encode, header, origin, redirect, remote, server,
};
use super::reference::is_safe_file;
use super::snapshot::is_commit;
use super::{HubConfig, ModelRefError, Progress};

const MAX_HOPS: usize = 10;

/// What is asked of a file.
enum Wanted {
    Description,
    Bytes { from: u64 },
}

/// What a repository holds.
pub(super) struct Listing {
    pub files: Vec<String>,
    pub commit: String,
}

/// One repository on the Hub.
pub(super) struct Hub {
    endpoint: String,
    repo: String,
    revision: String,
    api: ApiRepo,
    agent: Agent,
    token: Option<String>,
    attempts: u32,
    backoff: Duration,
}

impl Hub {
    pub(super) fn new(
        config: &HubConfig,
        repo: &str,
        revision: &str,
    ) -> Result<Self, ModelRefError> {
        let valid = config.endpoint.parse::<Uri>().is_ok_and(|uri| {
            uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        if !valid {
            return Err(ModelRefError::Setting(format!(
                "HF_ENDPOINT is `{}`, which is no http:// or https:// address",
                config.endpoint.escape_debug()
            )));
        }
        let token = config.token.as_deref();
        if token.is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(ModelRefError::Setting(
                "the Hub token (HF_TOKEN or the token file) holds characters that no token has"
                    .to_owned(),
            ));
        }
        let api = ApiBuilder::from_cache(Cache::new(config.cache.clone()))
            .with_endpoint(config.endpoint.clone())
            .with_token(config.token.clone())
            .with_progress(false)
            .build()
            .map_err(|error| ModelRefError::Setting(error.to_string()))?;
        let repository = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned());
        Ok(Self {
            endpoint: config.endpoint.clone(),
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            api: api.repo(repository),
            agent: http::agent(),
            token: config.token.clone(),
            attempts: config.attempts.max(1),
            backoff: config.backoff,
        })
    }

    pub(super) fn repo(&self) -> &str {
        &self.repo
    }

    /// Attempts without progress after which to give up.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Waits before another attempt.
    pub(super) fn pause(
        &self,
        failures: u32,
        reason: &ModelRefError,
        progress: &mut dyn FnMut(Progress),
    ) {
        let wait = self
            .backoff
            .saturating_mul(1 << failures.saturating_sub(1).min(6));
        progress(Progress::Retrying {
            reason: reason.to_string(),
            wait,
        });
        thread::sleep(wait);
    }

    fn retrying<T>(
        &self,
        progress: &mut dyn FnMut(Progress),
        attempt: impl Fn() -> Result<T, Failure>,
    ) -> Result<T, ModelRefError> {
        let mut failures = 0;
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error)) => {
                    failures += 1;
                    if failures >= self.attempts {
                        return Err(error);
                    }
                    self.pause(failures, &error, progress);
                }
            }
        }
    }

    /// Asks what the repository holds at the revision.
    pub(super) fn list(
        &self,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Listing, ModelRefError> {
        self.retrying(progress, || {
            let request = self.api.info_request().config();
            let request = request
                .http_status_as_error(false)
                .timeout_connect(Some(CONNECT))
                .timeout_recv_response(Some(SILENCE))
                .timeout_per_read(Some(SILENCE))
                .build();
            let what = format!("{}/api/models/{}", self.endpoint, self.repo);
            let mut response = request.call().map_err(|e| self.transport(&what, e))?;
            if response.status() == 404 {
                return Err(self.no_such_repo().into());
            }
            self.check_status(&what, &response)?;
            let info: RepoInfo = response
                .body_mut()
                .read_json()
                .map_err(|error| self.transport(&what, error))?;
            if !is_commit(&info.sha) {
                return Err(server(&what, "the listing names no commit").into());
            }
            let files = info.siblings.into_iter().map(|file| file.rfilename);
            Ok(Listing {
                files: files.filter(|file| is_safe_file(file)).collect(),
                commit: info.sha,
            })
        })
    }

    /// Asks what a file is; `None` when the Hub has no such file.
    pub(super) fn head(
        &self,
        name: &str,
        commit: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Remote>, ModelRefError> {
        let url = self.url(name, commit);
        self.retrying(progress, || {
            let response = self.send(&Wanted::Description, &url)?;
            if response.status() == 404 {
                return Ok(None);
            }
            if !response.status().is_redirection() {
                self.check_status(&url, &response)?;
            }
            remote(&url, &response).map(Some)
        })
    }

    /// Sends a request and follows redirects. The token goes to the Hub's own address alone.
    ///
    /// A redirect that describes the file (as the Hub's to where the bytes are) ends a `HEAD`; others, as
    /// of a renamed repository, are followed there too.
    fn send(&self, what: &Wanted, url: &str) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..MAX_HOPS {
            let mut request = match what {
                Wanted::Description => self.agent.head(&url),
                Wanted::Bytes { .. } => self.agent.get(&url),
            };
            if let Some(token) = self.token.as_ref().filter(|_| self.is_own(&url)) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            if let Wanted::Bytes { from: from @ 1.. } = what {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|e| self.transport(&url, e))?;
            let Some(location) = redirect(&response) else {
                return Ok(response);
            };
            let absolute = location.contains("://");
            let describes = header(response.headers(), "x-repo-commit").is_some();
            if absolute && describes && matches!(what, Wanted::Description) {
                return Ok(response);
            }
            url = if absolute {
                location
            } else if location.starts_with('/') && !location.starts_with("//") {
                format!("{}{location}", origin(&url))
            } else {
                return Err(server(&url, "it redirects to an unusable address").into());
            };
        }
        Err(server(&url, "too many redirects").into())
    }

    /// Asks for the bytes of a file from an offset. The answer's status is 200, 206 or 416.
    pub(super) fn get(
        &self,
        name: &str,
        commit: Option<&str>,
        from: u64,
    ) -> Result<Response<Body>, Failure> {
        let url = self.url(name, commit);
        let response = self.send(&Wanted::Bytes { from }, &url)?;
        if response.status() != 416 {
            self.check_status(&url, &response)?;
        }
        Ok(response)
    }

    pub(super) fn url(&self, name: &str, commit: Option<&str>) -> String {
        let revision = encode(commit.unwrap_or(&self.revision));
        let name: Vec<String> = name.split('/').map(encode).collect();
        format!(
            "{}/{}/resolve/{revision}/{}",
            self.endpoint,
            self.repo,
            name.join("/")
        )
    }

    fn is_own(&self, url: &str) -> bool {
        origin(url) == origin(&self.endpoint)
    }

    pub(super) fn no_such_repo(&self) -> ModelRefError {
        let repo = match self.revision.as_str() {
            "main" => self.repo.clone(),
            revision => format!("{} at revision {revision}", self.repo),
        };
        ModelRefError::NoSuchRepo {
            endpoint: self.endpoint.clone(),
            repo,
        }
    }

    fn check_status(&self, url: &str, response: &Response<Body>) -> Result<(), Failure> {
        let status = response.status().as_u16();
        match status {
            200 | 206 => Ok(()),
            401 | 403 => Err(self.denied(status, response.headers()).into()),
            404 => Err(server(url, "HTTP 404, there is no such file").into()),
            408 | 429 | 500..=599 => Err(Failure::Passing(server(url, &format!("HTTP {status}")))),
            _ => Err(server(url, &format!("unexpected HTTP {status}")).into()),
        }
    }

    fn denied(&self, status: u16, headers: &HeaderMap) -> ModelRefError {
        let page = format!("{}/{}", self.endpoint, self.repo);
        let gated = header(headers, "x-error-code").is_some_and(|code| code == "GatedRepo");
        let remedy = match (&self.token, gated) {
            (_, true) => format!(
                "the model is gated; accept its terms at {page} and set HF_TOKEN to a token of that account"
            ),
            (None, false) => format!(
                "the name may be wrong, or the model is private or gated; check {page}, then set HF_TOKEN to a token that may read it"
            ),
            (Some(_), false) => format!(
                "the token in use (HF_TOKEN or the token file) is not valid or may not read it; check {page} and set HF_TOKEN anew"
            ),
        };
        ModelRefError::Denied {
            endpoint: self.endpoint.clone(),
            repo: self.repo.clone(),
            status,
            remedy,
        }
    }

    fn transport(&self, url: &str, error: ureq::Error) -> Failure {
        use std::io::ErrorKind;
        let unreachable = |detail: String| ModelRefError::Unreachable {
            endpoint: self.endpoint.clone(),
            detail,
        };
        let detail = error.to_string();
        match error {
            ureq::Error::Io(io) => match io.kind() {
                ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable => unreachable(detail).into(),
                _ => Failure::Passing(unreachable(detail)),
            },
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => unreachable(detail).into(),
            ureq::Error::Timeout(_) => Failure::Passing(unreachable(detail)),
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::InvalidProxyUrl
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_) => unreachable(detail).into(),
            _ => server(url, &detail).into(),
        }
    }
}
