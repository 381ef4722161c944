//! The inference core on the real default model: what is shared, what gives way, what is guessed, and
//! which adapter computes what.

#[path = "../support/adapter.rs"]
mod adapter;
mod architectures;
#[path = "../support/loading.rs"]
mod loading;
#[path = "../support/model.rs"]
mod model;
mod tiny;

use adapter::write_adapter;
use amend::backend::llama::context::KvChoice;
use amend::backend::llama::{AdapterOptions, LlamaBackend, LlamaOptions, LookupChoice};
use amend::backend::{Backend, BackendError};
use amend::digest::Digest;
use amend::engine::content_key;
use amend::generation::{Choose, Generate, Generation, Message, Reply, Request, SamplingParams};
use loading::default_options;

fn options(kv: KvChoice, parallel: usize) -> LlamaOptions {
    LlamaOptions {
        parallel: Some(parallel),
        kv,
        ..default_options()
    }
}

fn generate(text: &str, max_tokens: u32) -> Generate {
    Generate {
        messages: vec![Message::user(text)],
        sampling: SamplingParams {
            temperature: 0.0,
            max_tokens,
            ..SamplingParams::default()
        },
        seed: 1,
        shape: None,
        repeats: None,
        adapter: None,
    }
}

/// Submits all requests at once; the replies in the order of the requests.
fn ask(backend: &LlamaBackend, requests: Vec<Request>) -> Vec<Result<Reply, BackendError>> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let count = requests.len();
    for (ticket, request) in (0..).zip(requests) {
        backend.submit(ticket, request, sender.clone());
    }
    drop(sender);
    let mut replies: Vec<_> = receiver.iter().collect();
    assert_eq!(replies.len(), count, "one reply for every ticket");
    replies.sort_by_key(|(ticket, _)| *ticket);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

fn write_all(backend: &LlamaBackend, requests: Vec<Generate>) -> Vec<Generation> {
    let requests = requests.into_iter().map(Request::Generate).collect();
    ask(backend, requests)
        .into_iter()
        .map(|reply| match reply {
            Ok(Reply::Generated(generation)) => generation,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// About 300 tokens that several requests begin with.
fn preface() -> String {
    (1..=30).fold("Here are facts to remember.".to_owned(), |text, n| {
        text + &format!(" Fact {n}: box {n} holds {} stones.", n * 7 % 13)
    })
}

#[test]
fn a_common_prefix_is_decoded_once_for_requests_that_come_together() {
    for kv in [KvChoice::Unified, KvChoice::Streams] {
        let backend = LlamaBackend::load(&options(kv, 6)).unwrap();
        let requests = (1..=6)
            .map(|n| generate(&format!("{} What does box {n} hold?", preface()), 4))
            .collect();
        let replies = write_all(&backend, requests);
        let longest = replies.iter().map(|r| r.usage.prompt_tokens).max().unwrap();
        let read: u32 = replies
            .iter()
            .map(|r| r.usage.prompt_tokens - r.usage.cached_tokens)
            .sum();
        assert!(longest > 250, "{longest}");
        assert!(
            read < longest + 6 * 40,
            "{kv:?}: {read} tokens read for {longest}"
        );
        for reply in &replies {
            assert!(reply.usage.cached_tokens < reply.usage.prompt_tokens);
        }
    }
}

#[test]
fn sharing_changes_no_word() {
    // One sequence at a time, so that the shape of the batch is the same and only the cache differs.
    let prompts = ["What does box 3 hold?", "What does box 4 hold?"];
    let requests = || -> Vec<Generate> {
        prompts
            .iter()
            .map(|prompt| generate(&format!("{} {prompt}", preface()), 12))
            .collect()
    };
    let texts = |options: &LlamaOptions| -> Vec<String> {
        let backend = LlamaBackend::load(options).unwrap();
        let replies = write_all(&backend, requests());
        replies.into_iter().map(|reply| reply.text).collect()
    };
    let mut alone = options(KvChoice::Streams, 1);
    alone.deterministic = true;
    let alone = texts(&alone);
    for kv in [KvChoice::Unified, KvChoice::Streams] {
        assert_eq!(texts(&options(kv, 1)), alone, "{kv:?}");
    }
}

#[test]
fn a_cache_that_is_too_small_for_all_makes_some_wait_and_none_fail() {
    let mut options = options(KvChoice::Unified, 6);
    (options.context_per_sequence, options.cells) = (Some(512), Some(512));
    let backend = LlamaBackend::load(&options).unwrap();
    let requests: Vec<_> = (1..=8)
        .map(|n| {
            let text = format!(
                "Story {n}: write a very long story about {n} foxes and a river, in many chapters."
            );
            Generate {
                seed: n,
                ..generate(&text, 220)
            }
        })
        .collect();
    let replies = write_all(&backend, requests);
    assert!(replies.iter().all(|reply| !reply.text.is_empty()));
    let written: u32 = replies.iter().map(|r| r.usage.completion_tokens).sum();
    assert!(
        written > 512,
        "the replies fit into the cache together: {written}"
    );
    let stats = backend.stats();
    assert!(
        stats.preempted > 0,
        "nothing had to give way while {written} tokens were written: {stats:?}"
    );
}

#[test]
fn of_requests_that_wait_the_earliest_goes_first_whenever_it_came() {
    let backend = LlamaBackend::load(&options(KvChoice::Streams, 1)).unwrap();
    let (sender, receiver) = crossbeam_channel::unbounded();
    // The others come while the first one is computed.
    for (ticket, tokens) in [(5, 40), (30, 2), (10, 2), (20, 2)] {
        let request = Request::Generate(generate("Count to ten.", tokens));
        backend.submit(ticket, request, sender.clone());
    }
    drop(sender);
    let order: Vec<_> = receiver.iter().map(|(ticket, _)| ticket).collect();
    assert_eq!(order, [5, 10, 20, 30]);
}

#[test]
fn guessing_from_repeated_text_changes_no_word() {
    let texts = [
        "The lighthouse keeper counted forty-one ships before the fog came in from the north, and then he lit the lamp.",
        "First wash the rice until the water runs clear. Then soak it for half an hour. Boil it in twice as much water, and let it rest under a lid.",
        "A leap year has 366 days. It comes every fourth year, but not in years that end in two zeros, unless they can be divided by four hundred.",
    ];
    let requests = || -> Vec<Generate> {
        texts
            .iter()
            .map(|text| Generate {
                repeats: Some((*text).to_owned()),
                ..generate(
                    &format!("Copy the text exactly, word for word.\n\nText: {text}"),
                    64,
                )
            })
            .collect()
    };
    let run = |lookup| {
        let mut options = options(KvChoice::Streams, 1);
        (options.deterministic, options.lookup) = (true, lookup);
        write_all(&LlamaBackend::load(&options).unwrap(), requests())
    };
    let (off, on) = (run(LookupChoice::Off), run(LookupChoice::On));
    for (off, on) in off.iter().zip(&on) {
        assert_eq!(off.text, on.text);
        assert_eq!(off.usage.completion_tokens, on.usage.completion_tokens);
        assert_eq!(off.usage.proposed_tokens, 0);
        assert!(on.usage.accepted_tokens <= on.usage.proposed_tokens);
    }
    let accepted: u32 = on.iter().map(|reply| reply.usage.accepted_tokens).sum();
    assert!(accepted > 20, "{accepted} guesses were right");
}

fn choose(adapter: Option<&str>) -> Request {
    Request::Choose(Choose {
        messages: vec![Message::user(format!("{} Is box 3 heavy?", preface()))],
        options: vec!["Yes".to_owned(), "No".to_owned(), "Perhaps".to_owned()],
        adapter: adapter.map(str::to_owned),
    })
}

fn chosen(reply: &Result<Reply, BackendError>) -> (&[f64], u32) {
    match reply {
        Ok(Reply::Chosen(choice)) => (&choice.logprobs, choice.usage.cached_tokens),
        other => panic!("{other:?}"),
    }
}

/// The largest difference between two lists of log-probabilities.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

#[test]
fn requests_under_different_adapters_share_a_model_and_no_cache() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = |name: &str, strength| {
        let path = folder.path().join(format!("{name}.gguf"));
        write_adapter(&path, strength);
        AdapterOptions {
            name: Some(name.to_owned()),
            digest: Digest::of(&name),
            path,
            scale: 1.0,
        }
    };
    let mut with = options(KvChoice::Unified, 3);
    with.cells = Some(8192);
    with.adapters = vec![adapter("one", 0.3), adapter("other", -0.3)];
    let backend = LlamaBackend::load(&with).unwrap();
    let first = ask(&backend, vec![choose(None)]);
    let base = chosen(&first[0]).0;
    // Together, twice each, so that adapters take turns and each finds its own prefix.
    let names = [
        Some("one"),
        None,
        Some("other"),
        Some("one"),
        None,
        Some("other"),
    ];
    let replies = ask(&backend, names.iter().map(|name| choose(*name)).collect());
    let scores: Vec<_> = replies.iter().map(|reply| chosen(reply).0).collect();
    // Rows of a step round a little differently in company; an adapter does much more.
    let noise = [(1, 4), (0, 3), (2, 5)]
        .map(|(a, b)| distance(scores[a], scores[b]))
        .into_iter()
        .fold(distance(scores[1], base), f64::max);
    for (a, b) in [(scores[0], base), (scores[2], base), (scores[0], scores[2])] {
        assert!(
            distance(a, b) > 3.0 * noise,
            "{noise}: {scores:?} and {base:?}"
        );
    }
    let cached: Vec<_> = replies.iter().map(|reply| chosen(reply).1).collect();
    assert!(
        cached[1] > 0,
        "the base model's prefix was there: {cached:?}"
    );
    assert_eq!(
        (cached[0].min(cached[3]), cached[2].min(cached[5])),
        (0, 0),
        "nothing is shared between adapters: {cached:?}"
    );
    let unknown = ask(&backend, vec![choose(Some("nobody"))]);
    assert!(unknown[0].is_err());
}

#[test]
fn an_adapter_is_in_the_keys_of_the_requests_that_it_computes_and_in_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("critic.gguf");
    write_adapter(&path, 0.3);
    let key = |named: Option<Option<&str>>, asked: Option<&str>| {
        let mut with = options(KvChoice::Auto, 1);
        with.adapters.extend(named.map(|name| AdapterOptions {
            name: name.map(str::to_owned),
            digest: Digest::of(&"critic"),
            path: path.clone(),
            scale: 1.0,
        }));
        content_key(&LlamaBackend::load(&with).unwrap(), &choose(asked))
    };
    let plain = key(None, None);
    // The draft of a model whose critic has an adapter is that of the model, and is found again.
    assert_eq!(key(Some(Some("critic × 1")), None), plain);
    assert_ne!(key(Some(Some("critic × 1")), Some("critic × 1")), plain);
    assert_ne!(key(Some(None), None), plain);
}

#[test]
fn a_model_that_computes_no_numbers_fails_its_requests_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.gguf");
    write_adapter(&path, f32::NAN);
    let mut with = options(KvChoice::Unified, 3);
    with.adapters = vec![AdapterOptions {
        name: Some("broken".to_owned()),
        digest: Digest::of(&"broken"),
        path,
        scale: 1.0,
    }];
    let backend = LlamaBackend::load(&with).unwrap();
    let write = |adapter: Option<&str>| Generate {
        adapter: adapter.map(str::to_owned),
        ..generate("What is rain?", 8)
    };
    let requests = vec![
        Request::Generate(write(Some("broken"))),
        Request::Generate(write(None)),
        choose(Some("broken")),
        choose(None),
    ];
    // The second time nothing is left of the first.
    for _ in 0..2 {
        let replies = ask(&backend, requests.clone());
        for broken in [&replies[0], &replies[2]] {
            match broken {
                Err(BackendError::Inference(text)) => {
                    assert!(text.contains("no numbers"), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(replies[1].is_ok() && replies[3].is_ok(), "{replies:?}");
    }
}

#[test]
fn an_adapter_that_is_none_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not-an-adapter.gguf");
    std::fs::write(&path, "words").unwrap();
    let mut options = options(KvChoice::Auto, 1);
    options.adapters = vec![AdapterOptions {
        name: None,
        digest: Digest::of(&"words"),
        path,
        scale: 1.0,
    }];
    let error = LlamaBackend::load(&options).unwrap_err().to_string();
    assert!(error.contains("not-an-adapter.gguf"), "{error}");
}
