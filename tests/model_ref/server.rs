//! The Hub as models are fetched from it, and how it misbehaves.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use amend::backend::llama::model_ref::{
    HubConfig, ModelRef, ModelRefError, Progress, ResolveOptions, resolve,
};
use sha2::{Digest, Sha256};

/// The commit that the repository is at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    pub at_cdn: bool,
}

/// What the stand-in has and how it misbehaves.
#[derive(Default)]
pub struct State {
    files: Vec<(String, Vec<u8>)>,
    seen: Vec<Seen>,
    /// The next answers with bytes break off after so many bytes.
    pub cuts: VecDeque<usize>,
    /// The next answers to anything are these statuses.
    pub statuses: VecDeque<u16>,
    pub token: Option<String>,
    pub gated: bool,
    pub announce_wrong_digest: bool,
    pub ignore_ranges: bool,
    pub renamed_from: Option<String>,
}

/// The Hub and, at another address, the place where it keeps the bytes.
pub struct Server {
    pub hub: SocketAddr,
    state: Arc<Mutex<State>>,
    pub cache: tempfile::TempDir,
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn listen(state: &Arc<Mutex<State>>, cdn: Option<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(&stream, &state, cdn));
        }
    });
    address
}

/// Answers one request and closes the connection.
fn serve(mut stream: &TcpStream, state: &Mutex<State>, cdn: Option<SocketAddr>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut seen = Seen {
        method,
        path,
        range: None,
        authorization: None,
        at_cdn: cdn.is_none(),
    };
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap();
        let value = Some(value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "range" => seen.range = value,
            "authorization" => seen.authorization = value,
            _ => {}
        }
    }
    let mut state = state.lock().unwrap();
    state.seen.push(seen.clone());
    let answer = state.answer(&seen, cdn);
    drop(state);
    // The client may have gone away.
    let _ = stream.write_all(&answer);
}

fn answer(status: u16, headers: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut out = out.into_bytes();
    out.extend(body);
    out
}

impl State {
    fn answer(&mut self, seen: &Seen, cdn: Option<SocketAddr>) -> Vec<u8> {
        if let Some(status) = self.statuses.pop_front() {
            return answer(status, &[], b"");
        }
        let Some(cdn) = cdn else {
            return self.bytes(seen);
        };
        let given = seen.authorization.as_deref();
        let wanted = self.token.as_ref().map(|token| format!("Bearer {token}"));
        if wanted.is_some() && given != wanted.as_deref() {
            let code = if self.gated {
                "GatedRepo"
            } else {
                "RepoNotFound"
            };
            let status = if self.gated { 403 } else { 401 };
            return answer(status, &[("X-Error-Code", code.to_owned())], b"");
        }
        if let Some(old) = &self.renamed_from
            && seen.path.starts_with(old.as_str())
        {
            let location = seen.path.replacen(old.as_str(), "/owner/repo", 1);
            return answer(307, &[("Location", location)], b"");
        }
        if seen.path.starts_with("/api/models/owner/repo/revision/") {
            let siblings: Vec<_> = self
                .files
                .iter()
                .map(|(name, _)| serde_json::json!({"rfilename": name}))
                .collect();
            let body = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
            return answer(200, &[], body.as_bytes());
        }
        let name = ["main", "v1", COMMIT].iter().find_map(|revision| {
            seen.path
                .strip_prefix(&format!("/owner/repo/resolve/{revision}/"))
        });
        let file = self
            .files
            .iter()
            .find(|(own, _)| name == Some(own.replace(' ', "%20").as_str()));
        let Some((_, bytes)) = file else {
            return answer(404, &[], b"");
        };
        let mut digest = sha256(bytes);
        let location = format!("http://{cdn}/{digest}");
        if self.announce_wrong_digest {
            digest = sha256(b"something else");
        }
        let headers = [
            ("Location", location),
            ("X-Repo-Commit", COMMIT.to_owned()),
            ("X-Linked-Etag", format!("\"{digest}\"")),
            ("X-Linked-Size", bytes.len().to_string()),
            ("ETag", "\"of-the-redirect\"".to_owned()),
        ];
        answer(302, &headers, b"")
    }

    fn bytes(&mut self, seen: &Seen) -> Vec<u8> {
        let digest = seen.path.trim_start_matches('/');
        let found = self.files.iter().find(|(_, b)| sha256(b) == digest);
        let Some((_, whole)) = found else {
            return answer(404, &[], b"");
        };
        let start = seen
            .range
            .as_deref()
            .filter(|_| !self.ignore_ranges)
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'))
            .map(|start| start.parse::<usize>().unwrap());
        let mut out = match start {
            None => answer(200, &[], whole),
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", whole.len() - 1, whole.len());
                answer(206, &[("Content-Range", range)], &whole[start..])
            }
        };
        if let Some(cut) = self.cuts.pop_front() {
            let body = whole.len() - start.unwrap_or(0);
            out.truncate(out.len() - body + cut);
        }
        out
    }
}

impl Server {
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let state = State {
            files: files
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
                .collect(),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let cdn = listen(&state, None);
        Self {
            hub: listen(&state, Some(cdn)),
            state,
            cache: tempfile::tempdir().unwrap(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn config(&self) -> HubConfig {
        HubConfig {
            endpoint: format!("http://{}", self.hub),
            cache: self.cache.path().to_owned(),
            token: None,
            offline: false,
            attempts: 3,
            backoff: Duration::from_millis(1),
        }
    }

    pub fn resolve(&self, reference: &str) -> Result<PathBuf, ModelRefError> {
        resolve_with(reference, self.config(), false, false)
    }

    pub fn message(&self, reference: &str) -> String {
        self.resolve(reference).unwrap_err().to_string()
    }

    /// Forgets what was seen and returns it.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }

    pub fn repo(&self) -> PathBuf {
        self.cache.path().join("models--owner--repo")
    }
}

pub fn resolve_with(
    reference: &str,
    hub: HubConfig,
    offline: bool,
    refresh: bool,
) -> Result<PathBuf, ModelRefError> {
    let mut ignore = |_: Progress| {};
    let mut options = ResolveOptions {
        offline,
        refresh,
        hub,
        cache_dir: None,
        progress: &mut ignore,
    };
    resolve(&ModelRef::parse(reference).unwrap(), &mut options)
}
