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
use amend::backend::{Backend, BackendError, TicketReply};
use amend::digest::Digest;
use amend::engine::content_key;
use amend::generation::{
    Choose, Field, FieldKind, Generate, Generation, Message, Reply, Request, SamplingParams, Shape,
};
use crossbeam_channel::Receiver;
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

/// Submits all requests at once, with tickets in their order.
fn submit(backend: &LlamaBackend, requests: Vec<Request>) -> Receiver<TicketReply> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    for (ticket, request) in (0..).zip(requests) {
        backend.submit(ticket, request, sender.clone());
    }
    receiver
}

/// Submits all requests at once; the replies in the order of the requests.
fn ask(backend: &LlamaBackend, requests: Vec<Request>) -> Vec<Result<Reply, BackendError>> {
    let count = requests.len();
    let mut replies: Vec<_> = submit(backend, requests).iter().collect();
    assert_eq!(replies.len(), count, "one reply for every ticket");
    replies.sort_by_key(|(ticket, _)| *ticket);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

fn written(reply: Result<Reply, BackendError>) -> Generation {
    match reply {
        Ok(Reply::Generated(generation)) => generation,
        other => panic!("{other:?}"),
    }
}

fn write_all(backend: &LlamaBackend, requests: Vec<Generate>) -> Vec<Generation> {
    let requests = requests.into_iter().map(Request::Generate).collect();
    ask(backend, requests).into_iter().map(written).collect()
}

/// Holds the model up behind its reply to a first request, until that reply is taken from what this gives.
/// So everything that is submitted meanwhile waits together, however long submitting takes.
fn hold(backend: &LlamaBackend) -> Receiver<TicketReply> {
    let (sender, receiver) = crossbeam_channel::bounded(0);
    let request = Request::Generate(generate("Say hello.", 1));
    backend.submit(0, request, sender);
    receiver
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
fn what_is_shared_is_read_as_if_it_were_read_anew() {
    let asked = |number: u32| {
        Request::Choose(Choose {
            messages: vec![Message::user(format!(
                "{} What does box {number} hold?",
                preface()
            ))],
            options: (1..=9).map(|n| format!("Box {n} holds")).collect(),
            adapter: None,
        })
    };
    let scores = |options: &LlamaOptions, shared: bool| -> [Vec<f64>; 2] {
        let backend = LlamaBackend::load(options).unwrap();
        [3, 8].map(|number| {
            let reply = &ask(&backend, vec![asked(number)])[0];
            let (scores, cached) = chosen(reply);
            assert_eq!(cached > 250, shared && number == 8, "{cached}");
            scores.to_vec()
        })
    };
    let mut alone = options(KvChoice::Streams, 1);
    alone.deterministic = true;
    let [one, other] = scores(&alone, false);
    // Chunks of other lengths round otherwise; another question does much more.
    let apart = distance(&one, &other);
    for kv in [KvChoice::Unified, KvChoice::Streams] {
        let [first, second] = scores(&options(kv, 1), true);
        let noise = distance(&first, &one).max(distance(&second, &other));
        assert!(3.0 * noise < apart, "{kv:?}: {noise}, {apart}");
    }
}

/// A reply of so many words of two, whatever the model prefers.
fn words(count: usize) -> Shape {
    let field = |n: usize| Field {
        name: format!("word {n}"),
        kind: FieldKind::OneOf {
            options: vec!["left".to_owned(), "right".to_owned()],
        },
    };
    Shape {
        fields: (0..count).map(field).collect(),
    }
}

#[test]
fn a_cache_that_is_too_small_for_all_makes_some_wait_and_none_fail() {
    let mut options = options(KvChoice::Unified, 6);
    (options.context_per_sequence, options.cells) = (Some(512), Some(512));
    let backend = LlamaBackend::load(&options).unwrap();
    let requests = (1..=8)
        .map(|n| {
            Request::Generate(Generate {
                shape: Some(words(30)),
                ..generate(&format!("Walk {n}: which way at each of the crossings?"), 1)
            })
        })
        .collect();
    let held = hold(&backend);
    let replies = submit(&backend, requests);
    held.recv().unwrap().1.unwrap();
    let replies: Vec<_> = replies.iter().map(|(_, reply)| written(reply)).collect();
    assert_eq!(replies.len(), 8);
    for reply in &replies {
        let words: serde_json::Map<_, _> = serde_json::from_str(&reply.text).unwrap();
        assert_eq!(words.len(), 30);
        // Two of them do not fit beside each other.
        assert!(2 * reply.usage.completion_tokens > 512, "{reply:?}");
    }
    let stats = backend.stats();
    assert!(stats.preempted > 0, "nothing had to give way: {stats:?}");
}

#[test]
fn of_requests_that_wait_the_earliest_goes_first_whenever_it_came() {
    let backend = LlamaBackend::load(&options(KvChoice::Streams, 1)).unwrap();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let held = hold(&backend);
    for ticket in [30, 10, 20] {
        let request = Request::Generate(generate("Count to ten.", 2));
        backend.submit(ticket, request, sender.clone());
    }
    drop(sender);
    held.recv().unwrap().1.unwrap();
    let order: Vec<_> = receiver.iter().map(|(ticket, _)| ticket).collect();
    assert_eq!(order, [10, 20, 30]);
}

#[test]
fn guessing_from_repeated_text_changes_no_word() {
    let prompts = [
        "How do I cook rice?",
        "What is a leap year?",
        "Who keeps a lighthouse?",
    ];
    let run = |lookup, texts: &[String]| {
        let mut options = options(KvChoice::Streams, 1);
        (options.deterministic, options.lookup) = (true, lookup);
        let requests = prompts.iter().zip(texts).map(|(prompt, text)| Generate {
            repeats: Some(text.clone()),
            ..generate(prompt, 64)
        });
        write_all(&LlamaBackend::load(&options).unwrap(), requests.collect())
    };
    let off = run(LookupChoice::Off, &vec![String::new(); prompts.len()]);
    // What the model writes without, from the third word on: guesses go astray at first and are right then.
    let texts: Vec<String> = off
        .iter()
        .map(|reply| reply.text.splitn(3, ' ').last().unwrap().to_owned())
        .collect();
    let on = run(LookupChoice::On, &texts);
    for (off, on) in off.iter().zip(&on) {
        assert_eq!(off.text, on.text);
        assert_eq!(off.usage.completion_tokens, on.usage.completion_tokens);
        assert_eq!(off.usage.proposed_tokens, 0);
        assert!(on.usage.accepted_tokens <= on.usage.proposed_tokens);
    }
    let sum = |count: fn(&Generation) -> u32| on.iter().map(count).sum::<u32>();
    let accepted = sum(|reply| reply.usage.accepted_tokens);
    let written = sum(|reply| reply.usage.completion_tokens);
    // A text as short as a few words leaves nothing to guess.
    assert!(
        2 * accepted + 30 > written,
        "{accepted} of {written} tokens"
    );
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
    let key = |loaded: &[Option<&str>], asked: Option<&str>| {
        let mut with = options(KvChoice::Auto, 1);
        with.adapters
            .extend(loaded.iter().map(|name| AdapterOptions {
                name: name.map(str::to_owned),
                digest: Digest::of(&"critic"),
                path: path.clone(),
                scale: 1.0,
            }));
        content_key(&LlamaBackend::load(&with).unwrap(), &choose(asked))
    };
    let plain = key(&[], None);
    let critic = Some("critic × 1");
    // The draft of a model whose critic has an adapter is that of the model, and is found again.
    assert_eq!(key(&[critic], None), plain);
    assert_ne!(key(&[critic], critic), plain);
    assert_ne!(key(&[None], None), plain);
    // The critic is the same where all other steps have another adapter.
    assert_eq!(key(&[None, critic], critic), key(&[critic], critic));
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
