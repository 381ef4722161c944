//! Models whose cache cannot simply be cut and shared.

use amend::backend::BackendError;
use amend::backend::llama::context::KvChoice;
use amend::backend::llama::{LlamaBackend, LlamaOptions, LookupChoice};
use amend::generation::{Choose, Generate, Message, Reply, Request};

use super::{ask, chosen, distance, generate, options, tiny, written};

fn small(path: &std::path::Path, kv: KvChoice, parallel: usize) -> LlamaOptions {
    LlamaOptions {
        path: path.to_owned(),
        context_per_sequence: Some(400),
        ..options(kv, parallel)
    }
}

/// Requests that begin alike, and repeat what they were given.
fn requests(count: usize) -> Vec<Generate> {
    let text = "the ship sails at dawn and the ship sails at noon and the ship sails at dusk";
    (0..count)
        .map(|n| Generate {
            repeats: Some(text.to_owned()),
            ..generate(&format!("Copy: {text}. Number {n}"), 24)
        })
        .collect()
}

fn choice(ending: &str) -> Request {
    let text =
        "a long line of words that both requests begin with, longer than any window ".repeat(2);
    Request::Choose(Choose {
        messages: vec![Message::user(format!("{text}{ending}"))],
        options: ["yes", "no", "yesterday"].map(str::to_owned).to_vec(),
        adapter: None,
    })
}

#[test]
fn a_recurrent_model_shares_nothing_and_guesses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mamba.gguf");
    tiny::mamba(&path);
    let choices = || ["one", "two", "three", "four"].map(choice);
    let scores = |replies: &[Result<Reply, BackendError>]| -> Vec<Vec<f64>> {
        let scores = replies.iter().map(|reply| chosen(reply).0.to_vec());
        scores.collect()
    };
    // One at a time is the reference; the others are side by side and beside replies that are written, with a
    // cache and guesses asked for.
    let backend = LlamaBackend::load(&small(&path, KvChoice::Auto, 1)).unwrap();
    let alone = scores(&ask(&backend, choices().to_vec()));
    for kv in [KvChoice::Auto, KvChoice::Unified, KvChoice::Streams] {
        let mut asked = small(&path, kv, 8);
        asked.lookup = LookupChoice::On;
        let backend = LlamaBackend::load(&asked).unwrap();
        let texts = requests(4).into_iter().map(Request::Generate);
        let mut replies = ask(&backend, texts.chain(choices()).collect());
        let chosen = scores(&replies.split_off(4));
        for (n, found) in chosen.iter().enumerate() {
            let own = distance(found, &alone[n]);
            let nearest = (0..4)
                .filter(|&other| other != n)
                .map(|other| distance(found, &alone[other]))
                .fold(f64::INFINITY, f64::min);
            assert!(10.0 * own < nearest, "{kv:?}: {own}, {nearest}");
        }
        for reply in replies.into_iter().map(written) {
            assert!(reply.usage.completion_tokens > 0);
            assert_eq!(reply.usage.cached_tokens, 0);
            assert_eq!(reply.usage.proposed_tokens, 0);
        }
        assert!(
            backend
                .cache()
                .to_string()
                .contains("cannot keep a part of a sequence"),
            "{}",
            backend.cache()
        );
    }
}

#[test]
fn a_recurrent_model_scores_continuations_of_several_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mamba.gguf");
    tiny::mamba(&path);
    let backend = LlamaBackend::load(&small(&path, KvChoice::Auto, 2)).unwrap();
    let together = ask(&backend, vec![choice("one"), choice("two"), choice("one")]);
    let [first, second, again] = &together[..] else {
        panic!("{together:?}")
    };
    let total: f64 = chosen(first).0.iter().map(|p| p.exp()).sum();
    assert!((total - 1.0).abs() < 1e-6, "{total}");
    assert!(distance(chosen(first).0, chosen(again).0) < 1e-4);
    assert!(distance(chosen(first).0, chosen(second).0) > 1e-4);
}

#[test]
fn a_sliding_window_does_not_spoil_what_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("window.gguf");
    tiny::sliding_window(&path, 16);
    let fresh = |request: Request| {
        let backend = LlamaBackend::load(&small(&path, KvChoice::Auto, 1)).unwrap();
        chosen(&ask(&backend, vec![request])[0]).0.to_vec()
    };
    let (one, two) = (fresh(choice("one")), fresh(choice("two")));
    assert!(distance(&one, &two) > 0.1, "the endings make no difference");
    for kv in [KvChoice::Unified, KvChoice::Streams] {
        let backend = LlamaBackend::load(&small(&path, kv, 2)).unwrap();
        for (ending, expected) in [("one", &one), ("two", &two), ("one", &one)] {
            let reply = &ask(&backend, vec![choice(ending)])[0];
            let found = chosen(reply).0;
            assert!(
                distance(found, expected) < 0.02,
                "{kv:?} {ending}: {found:?} {expected:?}"
            );
        }
        let reply = &ask(&backend, vec![choice("one")])[0];
        let (_, cached) = chosen(reply);
        assert!(cached > 100, "{kv:?}: {cached} tokens were shared");
    }
}
