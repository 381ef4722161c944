//! Models from the Hub, against a server in the test that stands in for it.

mod program;
mod server;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;

use amend::backend::llama::model_ref::{
    HubConfig, ModelRef, ModelRefError, Progress, ResolveOptions, cached_models, resolve,
};

use server::{COMMIT, Server, resolve_with, sha256};

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
