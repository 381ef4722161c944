//! Models from the Hub, against a server in the test that stands in for it.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use amend::backend::llama::model_ref::{
    HubConfig, ModelRef, ModelRefError, Progress, ResolveOptions, cached_models, resolve,
};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// One request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    path: String,
    range: Option<String>,
    authorization: Option<String>,
    at_cdn: bool,
}

/// What the stand-in has and how it misbehaves.
#[derive(Default)]
struct State {
    files: Vec<(String, Vec<u8>)>,
    seen: Vec<Seen>,
    /// The next answers with bytes break off after so many bytes.
    cuts: VecDeque<usize>,
    /// The next answers to anything are these statuses.
    statuses: VecDeque<u16>,
    token: Option<String>,
    gated: bool,
    announce_wrong_digest: bool,
    ignore_ranges: bool,
    renamed_from: Option<String>,
}

/// The Hub and, at another address, the place where it keeps the bytes.
struct Server {
    hub: SocketAddr,
    state: Arc<Mutex<State>>,
    cache: tempfile::TempDir,
}

fn sha256(bytes: &[u8]) -> String {
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
    fn new(files: &[(&str, &[u8])]) -> Self {
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn config(&self) -> HubConfig {
        HubConfig {
            endpoint: format!("http://{}", self.hub),
            cache: self.cache.path().to_owned(),
            token: None,
            offline: false,
            attempts: 3,
            backoff: Duration::from_millis(1),
        }
    }

    fn resolve(&self, reference: &str) -> Result<PathBuf, ModelRefError> {
        resolve_with(reference, self.config(), false, false)
    }

    fn message(&self, reference: &str) -> String {
        self.resolve(reference).unwrap_err().to_string()
    }

    /// Forgets what was seen and returns it.
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }

    fn repo(&self) -> PathBuf {
        self.cache.path().join("models--owner--repo")
    }
}

fn resolve_with(
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

/// Bytes that differ at every place, so that a wrong offset shows.
fn content(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

fn leftovers(repo: &Path) -> Vec<PathBuf> {
    fs::read_dir(repo.join("blobs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some())
        .collect()
}

#[test]
fn a_whole_download_lands_in_the_hubs_layout_and_is_made_once() {
    let bytes = content(300_000);
    let server = Server::new(&[("README.md", b"#"), ("m-Q4_K_M.gguf", &bytes)]);
    let path = server.resolve("hf:owner/repo:q4_k_m").unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let repo = server.repo();
    assert_eq!(
        path,
        repo.join("snapshots").join(COMMIT).join("m-Q4_K_M.gguf")
    );
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    let blob = repo.join("blobs").join(sha256(&bytes));
    assert_eq!(
        fs::canonicalize(&path).unwrap(),
        fs::canonicalize(&blob).unwrap()
    );
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(&path).unwrap(),
        Path::new("../../blobs").join(sha256(&bytes))
    );
    assert_eq!(leftovers(&repo), Vec::<PathBuf>::new());
    assert_eq!(server.seen().iter().filter(|r| r.at_cdn).count(), 1);

    // Named exactly, it needs no request at all; without a quantisation only the listing and a HEAD.
    assert_eq!(server.resolve("hf:owner/repo:Q4_K_M").unwrap(), path);
    assert_eq!(server.resolve("hf:owner/repo/m-Q4_K_M.gguf").unwrap(), path);
    assert!(server.seen().is_empty());
    assert_eq!(server.resolve("hf:owner/repo").unwrap(), path);
    let refreshed = resolve_with("hf:owner/repo:Q4_K_M", server.config(), false, true);
    assert_eq!(refreshed.unwrap(), path);
    let seen = server.seen();
    let methods: Vec<_> = seen.iter().map(|r| r.method.as_str()).collect();
    assert_eq!(methods, ["GET", "HEAD", "GET", "HEAD"]);
    assert!(seen.iter().all(|r| !r.at_cdn), "{seen:?}");
}

#[test]
fn a_download_cut_half_way_is_resumed() {
    let bytes = content(400_000);
    let server = Server::new(&[("m.gguf", &bytes)]);
    server.state().cuts.push_back(200_000);
    let path = server.resolve("hf:owner/repo/m.gguf").unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    let ranges: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|r| r.at_cdn)
        .map(|r| r.range)
        .collect();
    assert_eq!(ranges, [None, Some("bytes=200000-".to_owned())]);
}

#[test]
fn a_download_given_up_is_continued_by_the_next_command() {
    let bytes = content(100_000);
    let server = Server::new(&[("m.gguf", &bytes)]);
    server.state().cuts.extend([10_000, 0, 5_000]);
    let error = server.resolve("hf:owner/repo/m.gguf").unwrap_err();
    assert!(!error.is_input());
    let message = error.to_string();
    assert!(
        message.contains("cut after 15000 bytes of 100000"),
        "{message}"
    );
    assert!(message.contains("run the command again"), "{message}");
    assert!(!server.repo().join("snapshots").exists());
    let offline = resolve_with("hf:owner/repo/m.gguf", server.config(), true, false);
    assert!(matches!(offline, Err(ModelRefError::Offline { .. })));
    server.seen();

    let mut events = Vec::new();
    let mut record = |event| events.push(event);
    let mut options = ResolveOptions {
        offline: false,
        refresh: false,
        hub: server.config(),
        cache_dir: None,
        progress: &mut record,
    };
    let reference = ModelRef::parse("hf:owner/repo/m.gguf").unwrap();
    let path = resolve(&reference, &mut options).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    let seen = server.seen();
    assert_eq!(seen.last().unwrap().range.as_deref(), Some("bytes=15000-"));
    let name = "m.gguf".to_owned();
    assert_eq!(
        events.first(),
        Some(&Progress::Started {
            name: name.clone(),
            total: Some(100_000),
            done: 15_000
        })
    );
    assert!(events.contains(&Progress::Advanced { done: 100_000 }));
    assert_eq!(events.last(), Some(&Progress::Finished { name }));
}

#[test]
fn a_server_without_ranges_is_asked_from_the_start() {
    let bytes = content(100_000);
    let server = Server::new(&[("m.gguf", &bytes)]);
    server.state().cuts.push_back(60_000);
    server.state().ignore_ranges = true;
    let path = server.resolve("hf:owner/repo/m.gguf").unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
}

#[test]
fn a_wrong_digest_is_refused_and_leaves_nothing() {
    let server = Server::new(&[("m.gguf", &content(1000))]);
    server.state().announce_wrong_digest = true;
    let error = server.resolve("hf:owner/repo/m.gguf").unwrap_err();
    assert!(!error.is_input());
    let message = error.to_string();
    assert!(message.contains("wrong SHA-256"), "{message}");
    assert!(message.contains(&sha256(b"something else")), "{message}");
    assert!(message.contains("removed"), "{message}");
    assert_eq!(
        fs::read_dir(server.repo().join("blobs")).unwrap().count(),
        0
    );
    assert!(!server.repo().join("snapshots").exists());
}

#[test]
fn a_spoilt_partial_file_is_noticed() {
    let bytes = content(1000);
    let server = Server::new(&[("m.gguf", &bytes)]);
    let blobs = server.repo().join("blobs");
    let partial = blobs.join(format!("{}.incomplete", sha256(&bytes)));
    fs::create_dir_all(&blobs).unwrap();
    fs::write(&partial, [0; 400]).unwrap();
    assert!(server.message("hf:owner/repo/m.gguf").contains("SHA-256"));
    assert!(!partial.exists());
    // Longer than the file: it cannot be its beginning.
    fs::write(&partial, [0; 4000]).unwrap();
    let path = server.resolve("hf:owner/repo/m.gguf").unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
}

#[test]
fn what_does_not_exist_is_named_with_what_does() {
    let server = Server::new(&[
        ("m-Q4_0.gguf", b"a"),
        ("m-Q8_0.gguf", b"b"),
        ("mmproj-F16.gguf", b"c"),
    ]);
    let error = server.resolve("hf:owner/other").unwrap_err();
    assert!(error.is_input() && matches!(error, ModelRefError::NoSuchRepo { .. }));
    assert!(error.to_string().contains("owner/other"), "{error}");
    assert!(matches!(
        server.resolve("hf:owner/other/m.gguf"),
        Err(ModelRefError::NoSuchRepo { .. })
    ));
    for reference in ["hf:owner/repo/none.gguf", "hf:owner/repo:Q2_K"] {
        let error = server.resolve(reference).unwrap_err();
        assert!(error.is_input() && matches!(error, ModelRefError::NoSuchFile { .. }));
        let message = error.to_string();
        assert!(message.contains("m-Q4_0.gguf\n  m-Q8_0.gguf"), "{message}");
    }
    // Nothing of this was tried again.
    assert_eq!(server.seen().len(), 6);
}

#[test]
fn refused_access_names_the_token() {
    let server = Server::new(&[("m.gguf", &content(1000))]);
    server.state().token = Some("hf_right".to_owned());
    let message = server.message("hf:owner/repo/m.gguf");
    assert!(
        message.contains("401") && message.contains("set HF_TOKEN"),
        "{message}"
    );
    let with = |token: &str| HubConfig {
        token: Some(token.to_owned()),
        ..server.config()
    };
    let error = resolve_with("hf:owner/repo", with("hf_wrong"), false, false).unwrap_err();
    assert!(!error.is_input());
    let message = error.to_string();
    assert!(message.contains("the token in use"), "{message}");
    assert!(!message.contains("hf_wrong"), "{message}");
    server.state().gated = true;
    let message = server.message("hf:owner/repo/m.gguf");
    assert!(
        message.contains("403") && message.contains("gated"),
        "{message}"
    );
    let error = resolve_with("hf:owner/repo", with("hf\nsplit"), false, false).unwrap_err();
    assert!(matches!(error, ModelRefError::Setting(_)), "{error}");
    server.seen();

    // The right token opens the Hub, and is told to nobody else.
    resolve_with("hf:owner/repo/m.gguf", with("hf_right"), false, false).unwrap();
    let seen = server.seen();
    assert!(seen.iter().any(|r| r.at_cdn));
    for request in seen {
        let expected = (!request.at_cdn).then_some("Bearer hf_right");
        assert_eq!(request.authorization.as_deref(), expected);
    }
}

#[test]
fn offline_uses_the_cache_and_says_what_is_missing() {
    let server = Server::new(&[("m-Q4_0.gguf", b"four"), ("m-Q8_0.gguf", b"eight")]);
    let path = server.resolve("hf:owner/repo:Q8_0").unwrap();
    server.seen();
    let offline = |reference: &str| resolve_with(reference, server.config(), true, false);
    for reference in [
        "hf:owner/repo",
        "hf:owner/repo:Q8_0",
        "hf:owner/repo/m-Q8_0.gguf",
    ] {
        assert_eq!(offline(reference).unwrap(), path);
    }
    let error = offline("hf:owner/repo:Q4_0").unwrap_err();
    assert!(error.is_input());
    let message = error.to_string();
    assert!(
        message.contains("hf:owner/repo:Q4_0 is not in the cache"),
        "{message}"
    );
    assert!(message.contains("which has m-Q8_0.gguf"), "{message}");
    assert!(
        message.contains("amend model fetch hf:owner/repo:Q4_0"),
        "{message}"
    );
    assert!(offline("hf:owner/never").is_err());
    assert!(server.seen().is_empty());
}

#[test]
fn without_a_connection_a_cached_file_will_do() {
    let server = Server::new(&[("m-Q4_0.gguf", b"four")]);
    let path = server.resolve("hf:owner/repo").unwrap();
    // A port that is taken and at which nobody listens: that of a connection's own end.
    let held = TcpStream::connect(server.hub).unwrap();
    let config = HubConfig {
        endpoint: format!("http://{}", held.local_addr().unwrap()),
        ..server.config()
    };
    let found = resolve_with("hf:owner/repo", config.clone(), false, false);
    assert_eq!(found.unwrap(), path);
    let error = resolve_with("hf:owner/other", config, false, false).unwrap_err();
    assert!(!error.is_input());
    let message = error.to_string();
    assert!(
        message.contains("cannot reach") && message.contains("HF_ENDPOINT"),
        "{message}"
    );
    let odd = HubConfig {
        endpoint: "mirror".to_owned(),
        ..server.config()
    };
    let error = resolve_with("hf:owner/other", odd, false, false).unwrap_err();
    assert!(
        error.to_string().contains("HF_ENDPOINT is `mirror`"),
        "{error}"
    );
}

#[test]
fn a_failing_server_is_tried_again_and_then_given_up() {
    let server = Server::new(&[("m.gguf", &content(1000))]);
    server.state().statuses.extend([503, 500]);
    server.resolve("hf:owner/repo/m.gguf").unwrap();
    server.seen();
    server.state().statuses.extend([503; 3]);
    let error = server.resolve("hf:owner/repo").unwrap_err();
    assert!(error.to_string().contains("HTTP 503"), "{error}");
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn split_models_come_whole() {
    let (one, two) = (content(5000), content(7000));
    let server = Server::new(&[
        ("Q8_0/m-00002-of-00002.gguf", &two),
        ("Q8_0/m-00001-of-00002.gguf", &one),
    ]);
    let path = server.resolve("hf:owner/repo:Q8_0").unwrap();
    assert!(path.ends_with("Q8_0/m-00001-of-00002.gguf"));
    assert_eq!(fs::read(&path).unwrap(), one);
    let second = path.with_file_name("m-00002-of-00002.gguf");
    assert_eq!(fs::read(&second).unwrap(), two);
    let listed = cached_models(server.cache.path());
    assert_eq!(listed.len(), 1);
    assert_eq!(
        listed[0].reference,
        "hf:owner/repo/Q8_0/m-00001-of-00002.gguf"
    );
    assert_eq!((&listed[0].path, listed[0].size), (&path, 12_000));
    // With a part gone it is no model, and only that part is fetched again.
    fs::remove_file(fs::canonicalize(&second).unwrap()).unwrap();
    assert!(cached_models(server.cache.path()).is_empty());
    server.seen();
    server.resolve("hf:owner/repo:Q8_0").unwrap();
    assert_eq!(server.seen().iter().filter(|r| r.at_cdn).count(), 1);
}

#[test]
fn revisions_renamed_repositories_and_odd_names_are_followed() {
    let bytes = content(1000);
    let server = Server::new(&[("a file.gguf", &bytes)]);
    let path = server.resolve("hf:owner/repo@v1/a file.gguf").unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert!(server.repo().join("refs/v1").exists());
    assert!(!server.repo().join("refs/main").exists());
    server.state().renamed_from = Some("/old/name".to_owned());
    let path = server.resolve("hf:old/name/a file.gguf").unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    let by_commit = format!("hf:owner/repo@{COMMIT}/a file.gguf");
    assert!(resolve_with(&by_commit, server.config(), true, false).is_ok());
}

#[test]
fn two_at_once_download_once() {
    let bytes = content(200_000);
    let server = Server::new(&[("m.gguf", &bytes)]);
    thread::scope(|scope| {
        let tasks: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.resolve("hf:owner/repo/m.gguf").unwrap()))
            .collect();
        for task in tasks {
            assert_eq!(fs::read(task.join().unwrap()).unwrap(), bytes);
        }
    });
    assert_eq!(server.seen().iter().filter(|r| r.at_cdn).count(), 1);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let server = Server::new(&[("m.gguf", &content(1000))]);
    let blocker = server.cache.path().join("file");
    fs::write(&blocker, "").unwrap();
    let config = HubConfig {
        cache: blocker.clone(),
        ..server.config()
    };
    let error = resolve_with("hf:owner/repo/m.gguf", config, false, false).unwrap_err();
    assert!(matches!(error, ModelRefError::Disk { .. }), "{error}");
    assert!(error.to_string().contains(&blocker.display().to_string()));
}

#[test]
fn the_default_model_and_paths_are_checked() {
    let cache = tempfile::tempdir().unwrap();
    let resolve_in = |reference: &str| {
        let mut ignore = |_: Progress| {};
        let mut options = ResolveOptions {
            offline: false,
            refresh: false,
            hub: HubConfig::from_env(),
            cache_dir: Some(cache.path().to_owned()),
            progress: &mut ignore,
        };
        resolve(&ModelRef::parse(reference).unwrap(), &mut options)
    };
    let error = resolve_in("default").unwrap_err();
    assert!(error.is_input());
    assert!(error.to_string().contains("scripts/fetch-model"), "{error}");
    let models = cache.path().join("models");
    let file = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    fs::create_dir_all(&models).unwrap();
    fs::write(&file, "short").unwrap();
    let message = resolve_in("default").unwrap_err().to_string();
    assert!(message.contains("5 bytes instead of 98362432"), "{message}");
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(98_362_432)
        .unwrap();
    assert_eq!(resolve_in("default").unwrap(), file);
    let error = resolve_in("owner/some-model").unwrap_err();
    assert!(error.to_string().contains("hf:owner/some-model"), "{error}");
}

/// Runs the program with caches of its own.
fn amend(server: &Server, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_amend"))
        .args(arguments)
        .env_clear()
        .env("HF_ENDPOINT", format!("http://{}", server.hub))
        .env("HF_HUB_CACHE", server.cache.path())
        .env("AMEND_CACHE", server.cache.path().join("amend"))
        .output()
        .unwrap()
}

/// A GGUF file without tensors or metadata but its architecture.
fn gguf(architecture: &str) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    let key = "general.architecture";
    bytes.extend((key.len() as u64).to_le_bytes());
    bytes.extend(key.as_bytes());
    bytes.extend(8u32.to_le_bytes());
    bytes.extend((architecture.len() as u64).to_le_bytes());
    bytes.extend(architecture.as_bytes());
    bytes
}

#[test]
fn the_program_fetches_lists_and_explains() {
    let server = Server::new(&[("m-Q4_0.gguf", &gguf("bert"))]);
    // Fetched, and then refused for what it is.
    let output = amend(&server, &["model", "fetch", "hf:owner/repo"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("fetching m-Q4_0.gguf"), "{stderr}");
    assert!(stderr.contains("is an embedding model"), "{stderr}");
    assert!(output.stdout.is_empty());

    let output = amend(&server, &["model", "list", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let row: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(row["reference"], "hf:owner/repo/m-Q4_0.gguf");
    assert_eq!(row["size"], 68);

    let code = |arguments: &[&str]| amend(&server, arguments).status.code();
    assert_eq!(code(&["model", "info"]), Some(2));
    assert_eq!(code(&["model", "info", "hf:oops"]), Some(2));
    assert_eq!(
        code(&["model", "info", "--hf-repo", "owner/repo:Q2_K"]),
        Some(2)
    );
    assert_eq!(
        code(&["model", "info", "--offline", "hf:owner/never"]),
        Some(2)
    );
    server.state().token = Some("hf_right".to_owned());
    assert_eq!(code(&["model", "fetch", "hf:owner/repo"]), Some(1));
}

#[test]
fn the_program_describes_the_default_model() {
    let output = Command::new(env!("CARGO_BIN_EXE_amend"))
        .args(["model", "info", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["architecture"], "llama");
    assert_eq!(info["parameters"], 134_515_008);
    assert_eq!(info["quantisation"], "Q4_1");
    assert_eq!(info["training_context"], 8192);
    assert_eq!(info["chat_template"]["name"], "chatml");
    assert_eq!(
        info["digest"],
        "b3:5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3"
    );
}
