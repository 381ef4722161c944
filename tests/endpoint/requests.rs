//! One request at a time: what is sent, what is read, and what is tried again.

use std::time::Duration;

use amend::backend::http::{
    Address, Api, ConnectError, HttpBackend, HttpOptions, Patience, Secret,
};
use amend::backend::{Backend, BackendError, TicketReply};
use amend::generation::{
    Choose, FinishReason, Generate, Generation, Message, Reply, Request, SamplingParams,
};
use amend::verdict;
use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};

use crate::server::{Answer, Server, decision, models, nobody, reply, verdict as rest};

/// Longer than any test waits for what should come at once.
pub const LONG: Duration = Duration::from_secs(60);

pub fn options(url: &str) -> HttpOptions {
    HttpOptions {
        address: Address::parse(url).unwrap(),
        model: None,
        token: None,
        parallel: 4,
        patience: Patience {
            timeout: LONG,
            retries: 3,
            backoff: Duration::from_millis(1),
        },
        api: Api::Auto,
        kwargs: serde_json::Map::new(),
        date: jiff::civil::date(2026, 1, 2),
    }
}

pub fn connect(server: &Server) -> HttpBackend {
    HttpBackend::connect(&options(&server.url())).unwrap()
}

/// The tickets of the next replies, which say that the backend has stopped.
pub fn stopped(replies: &Receiver<TicketReply>, count: usize) -> Vec<u64> {
    let mut tickets: Vec<u64> = (0..count)
        .map(|_| {
            let (ticket, reply) = replies.recv_timeout(LONG).unwrap();
            assert_eq!(reply, Err(BackendError::Stopped));
            ticket
        })
        .collect();
    tickets.sort_unstable();
    tickets
}

pub fn text_request() -> Generate {
    Generate {
        messages: vec![Message::user("How long do I boil an egg?")],
        sampling: SamplingParams {
            max_tokens: 50,
            ..SamplingParams::default()
        },
        seed: 7,
        shape: None,
        repeats: None,
        adapter: None,
    }
}

pub fn verdict_request(threshold: f64) -> Generate {
    Generate {
        shape: Some(verdict::shape(threshold, 160)),
        ..text_request()
    }
}

pub fn submit(backend: &HttpBackend, request: Request) -> Receiver<TicketReply> {
    let (sender, replies) = unbounded();
    backend.submit(1, request, sender);
    replies
}

pub fn ask(backend: &HttpBackend, request: Generate) -> Result<Generation, BackendError> {
    let replies = submit(backend, Request::Generate(request));
    match replies.recv_timeout(2 * LONG).unwrap().1? {
        Reply::Generated(generation) => Ok(generation),
        Reply::Chosen(_) => panic!("scored where it was to write"),
    }
}

fn inference(error: BackendError) -> String {
    match error {
        BackendError::Inference(text) => text,
        other => panic!("not an error of one request: {other:?}"),
    }
}

#[test]
fn a_reply_is_read_with_its_cost() {
    let server = Server::openai(|_, _| Answer::json(&reply("Six minutes.")));
    let generation = ask(&connect(&server), text_request()).unwrap();
    assert_eq!(generation.text, "Six minutes.");
    assert_eq!(generation.finish, FinishReason::Stop);
    let usage = generation.usage;
    assert_eq!(
        (
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.completion_tokens
        ),
        (20, 12, 5)
    );
    let sent = &server.chats()[0].body;
    assert_eq!(sent["model"], "small");
    assert_eq!(sent["messages"][0]["role"], "user");
    assert_eq!(sent["max_tokens"], 50);
    assert_eq!(sent["seed"], 7);
    assert_eq!(sent["temperature"], 0.7);
    assert_eq!(sent["top_k"], 40);
    assert_eq!(sent.get("logprobs"), None);
}

#[test]
fn thoughts_are_kept_apart_from_the_answer() {
    let server = Server::openai(|_, _| {
        let mut answer = reply("Six.");
        answer["choices"][0]["message"]["reasoning_content"] = "An egg is small.".into();
        Answer::json(&answer)
    });
    let generation = ask(&connect(&server), text_request()).unwrap();
    assert_eq!(generation.text, "Six.");
    assert_eq!(generation.thinking.as_deref(), Some("An egg is small."));
    assert!(!generation.thinking_unclosed);
}

#[test]
fn a_reply_at_the_limit_says_so() {
    let server = Server::openai(|_, _| {
        let mut answer = reply("Six min");
        answer["choices"][0]["finish_reason"] = "length".into();
        Answer::json(&answer)
    });
    let generation = ask(&connect(&server), text_request()).unwrap();
    assert_eq!(generation.finish, FinishReason::Length);
}

#[test]
fn what_passes_is_tried_again() {
    let faults: [fn() -> Answer; 7] = [
        || Answer::status(500, &json!({"error": {"message": "busy"}})),
        || Answer::Whole(502, Vec::new(), b"<html>bad gateway".to_vec()),
        || Answer::status(503, &json!({})),
        || Answer::Whole(200, Vec::new(), b"{\"choices\": [oops".to_vec()),
        || Answer::Cut,
        || Answer::Hangup,
        || Answer::Whole(429, Vec::new(), Vec::new()),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let server = Server::openai(move |_, n| match n {
            0 | 1 => fault(),
            _ => Answer::json(&reply("Six minutes.")),
        });
        let generation = ask(&connect(&server), text_request())
            .unwrap_or_else(|error| panic!("fault {number}: {error}"));
        assert_eq!(generation.text, "Six minutes.", "fault {number}");
        assert_eq!(server.chats().len(), 3, "fault {number}");
    }
}

#[test]
fn a_gateways_own_error_passes_and_a_lacking_method_does_not() {
    for (status, chats) in [(520, 2), (599, 2), (501, 1), (505, 1)] {
        let server = Server::openai(move |_, n| match n {
            0 => Answer::Whole(status, Vec::new(), b"<html>error".to_vec()),
            _ => Answer::json(&reply("Six minutes.")),
        });
        let answer = ask(&connect(&server), text_request());
        assert_eq!(answer.is_ok(), chats > 1, "{status}: {answer:?}");
        assert_eq!(server.chats().len(), chats, "{status}");
    }
}

#[test]
fn the_wait_that_a_server_asks_for_takes_the_place_of_our_own() {
    let server = Server::openai(|_, n| match n {
        0 => Answer::Whole(429, vec![("Retry-After", "0".to_owned())], Vec::new()),
        _ => Answer::json(&reply("Six minutes.")),
    });
    let mut options = options(&server.url());
    options.patience.backoff = 100 * LONG;
    let backend = HttpBackend::connect(&options).unwrap();
    assert_eq!(ask(&backend, text_request()).unwrap().text, "Six minutes.");
    // One that asks for more than anyone would wait for is not waited for.
    let server = Server::openai(|_, _| {
        Answer::Whole(429, vec![("Retry-After", "86400".to_owned())], Vec::new())
    });
    let error = inference(ask(&connect(&server), text_request()).unwrap_err());
    assert!(error.contains("86400 s"), "{error}");
}

#[test]
fn what_does_not_pass_ends_with_the_servers_words() {
    let server =
        Server::openai(|_, _| Answer::status(503, &json!({"error": {"message": "out of slots"}})));
    let error = inference(ask(&connect(&server), text_request()).unwrap_err());
    assert!(error.contains("503: out of slots (4 attempts)"), "{error}");
    assert!(error.contains(&server.url()), "{error}");
    assert_eq!(server.chats().len(), 4);

    let server =
        Server::openai(|_, _| Answer::status(400, &json!({"error": {"message": "no seed here"}})));
    let error = inference(ask(&connect(&server), text_request()).unwrap_err());
    assert!(error.contains("400: no seed here"), "{error}");
    assert_eq!(server.chats().len(), 1, "a refusal is not tried again");
}

#[test]
fn a_server_that_is_too_slow_is_left() {
    let server = Server::openai(|_, _| Answer::Silence);
    let mut options = options(&server.url());
    options.patience.timeout = Duration::from_secs(2);
    options.patience.retries = 1;
    let backend = HttpBackend::connect(&options).unwrap();
    let error = inference(ask(&backend, text_request()).unwrap_err());
    assert!(
        error.contains("no whole answer within 2 s (2 attempts)"),
        "{error}"
    );
}

#[test]
fn an_answer_has_an_end() {
    let server = Server::openai(|_, _| Answer::Endless);
    let error = inference(ask(&connect(&server), text_request()).unwrap_err());
    assert!(error.contains("larger than 16 MiB"), "{error}");
}

#[test]
fn answers_that_are_no_completions_are_errors() {
    for answer in [
        json!({}),
        json!([]),
        json!({"choices": []}),
        json!({"choices": [1]}),
        Value::Null,
    ] {
        let server = Server::openai(move |_, _| Answer::json(&answer));
        let error = inference(ask(&connect(&server), text_request()).unwrap_err());
        assert!(error.contains("no chat completion"), "{error}");
    }
}

#[test]
fn a_clean_verdict_is_one_short_request() {
    // The server writes `true`; the probability decides.
    let server = Server::openai(|_, _| Answer::json(&decision(true, 0.4)));
    let generation = ask(&connect(&server), verdict_request(0.5)).unwrap();
    assert_eq!(generation.text, r#"{"violated": false}"#);
    assert_eq!(generation.decisions[0].field, "violated");
    assert!((generation.decisions[0].probability - 0.4).abs() < 1e-9);
    let chats = server.chats();
    assert_eq!(chats.len(), 1);
    let sent = &chats[0].body;
    assert!(sent["max_tokens"].as_u64().unwrap() <= 32);
    assert_eq!(sent["temperature"], 0);
    assert_eq!(sent["logprobs"], true);
    let schema = &sent["response_format"]["json_schema"]["schema"];
    assert_eq!(schema["required"], json!(["violated"]));
}

#[test]
fn a_violated_verdict_asks_for_the_rest() {
    let server = Server::openai(|_, n| {
        Answer::json(&match n {
            // The server writes `false`; the probability decides.
            0 => decision(false, 0.4),
            _ => rest("six"),
        })
    });
    let generation = ask(&connect(&server), verdict_request(0.35)).unwrap();
    assert_eq!(
        generation.text,
        r#"{"violated": true, "quote": "six", "critique": "Too short.", "severity": "minor"}"#
    );
    let read = verdict::read(&generation, "It takes six.", 0.35).unwrap();
    assert!(read.violated && read.quote_verified);
    assert!((read.probability.unwrap() - 0.4).abs() < 1e-9);
    // Both replies were paid for; the conversation is one.
    assert_eq!(generation.usage.completion_tokens, 10);
    assert_eq!(generation.usage.prompt_tokens, 20);
    let sent = &server.chats()[1].body;
    let schema = &sent["response_format"]["json_schema"]["schema"];
    assert_eq!(schema["properties"]["violated"]["enum"], json!([true]));
    assert_eq!(sent["seed"], 7);
    assert_eq!(sent["temperature"], 0.7);
}

#[test]
fn a_server_that_cannot_tell_probabilities_is_named_as_such() {
    let plain = Server::openai(|_, _| Answer::json(&reply(r#"{"violated": false}"#)));
    let error = inference(ask(&connect(&plain), verdict_request(0.5)).unwrap_err());
    assert!(error.contains("no logprobs"), "{error}");

    let refusing = Server::openai(|_, _| {
        Answer::status(
            400,
            &json!({"error": {"message": "logprobs are not supported"}}),
        )
    });
    let error = inference(ask(&connect(&refusing), verdict_request(0.5)).unwrap_err());
    assert!(error.contains("cannot give verdicts"), "{error}");

    let no_schema = Server::openai(|_, _| {
        let mut answer = reply("I find nothing.");
        answer["choices"][0]["logprobs"] =
            json!({"content": [{"token": "I find nothing.", "logprob": -0.1, "top_logprobs": []}]});
        Answer::json(&answer)
    });
    let error = inference(ask(&connect(&no_schema), verdict_request(0.5)).unwrap_err());
    assert!(error.contains("json_schema"), "{error}");
}

#[test]
fn options_are_scored_at_their_first_tokens() {
    let first = |top: Value| {
        let mut answer = reply("A");
        answer["choices"][0]["logprobs"] =
            json!({"content": [{"token": "A", "logprob": -9.0, "top_logprobs": top}]});
        Answer::json(&answer)
    };
    let request = Request::Choose(Choose {
        messages: vec![Message::user("A or B?")],
        options: vec!["A".to_owned(), "B".to_owned()],
        adapter: None,
    });
    let server = Server::openai(move |_, _| {
        first(
            json!([{"token": "A", "logprob": 0.3f64.ln()}, {"token": " B", "logprob": 0.1f64.ln()}]),
        )
    });
    let backend = connect(&server);
    let replies = submit(&backend, request.clone());
    let Ok(Reply::Chosen(choice)) = replies.recv_timeout(LONG).unwrap().1 else {
        panic!("not a choice");
    };
    assert!((choice.logprobs[0].exp() - 0.75).abs() < 1e-9);
    assert!((choice.logprobs[1].exp() - 0.25).abs() < 1e-9);

    let server = Server::openai(move |_, _| first(json!([{"token": "C", "logprob": -0.1}])));
    let backend = connect(&server);
    let replies = submit(&backend, request);
    let error = inference(replies.recv_timeout(LONG).unwrap().1.unwrap_err());
    assert!(error.contains("likeliest first tokens"), "{error}");
}

#[test]
fn what_options_begin_with_alike_may_be_written_before_they_are_scored() {
    let server = Server::openai(|seen, _| {
        if seen.body["max_tokens"] != 2 {
            return Answer::status(400, &json!({"message": "two tokens are enough"}));
        }
        let mut answer = reply("(B");
        let listed =
            json!([{"token": "A", "logprob": 0.1f64.ln()}, {"token": "B", "logprob": 0.4f64.ln()}]);
        answer["choices"][0]["logprobs"] = json!({"content": [
            {"token": "(", "logprob": -0.1, "top_logprobs": [{"token": "(", "logprob": -0.1}]},
            {"token": "B", "logprob": 0.4f64.ln(), "top_logprobs": listed},
        ]});
        Answer::json(&answer)
    });
    let backend = connect(&server);
    let request = Request::Choose(Choose {
        messages: vec![Message::user("(A) or (B)?")],
        options: vec!["(A".to_owned(), "(B".to_owned()],
        adapter: None,
    });
    let replies = submit(&backend, request);
    let Ok(Reply::Chosen(choice)) = replies.recv_timeout(LONG).unwrap().1 else {
        panic!("not a choice");
    };
    assert!((choice.logprobs[0].exp() - 0.2).abs() < 1e-9);
}

#[test]
fn a_conversation_that_does_not_fit_says_by_how_much() {
    let words = "This model's maximum context length is 64 tokens. However, you requested 150 tokens \
                 (100 in the messages, 50 in the completion).";
    let server = Server::openai(move |_, _| Answer::status(400, &json!({"message": words})));
    assert_eq!(
        ask(&connect(&server), text_request()),
        Err(BackendError::ContextExceeded {
            tokens: 100,
            context: 64
        })
    );
    // Here the conversation fits, and only its limit does not.
    let words = "This model's maximum context length is 64 tokens. However, you requested 90 tokens \
                 (40 in the messages, 50 in the completion).";
    let server = Server::openai(move |_, n| match n {
        0 => Answer::status(400, &json!({"message": words})),
        _ => Answer::json(&reply("Six minutes.")),
    });
    assert!(ask(&connect(&server), text_request()).is_ok());
    assert_eq!(server.chats()[1].body["max_tokens"], 24);
}

#[test]
fn the_token_is_sent_and_a_refused_one_ends_the_run() {
    let server = Server::openai(|seen, _| match seen.authorization.as_deref() {
        Some("Bearer s3cret") => Answer::json(&reply("Six minutes.")),
        _ => Answer::status(401, &json!({"error": {"message": "who are you"}})),
    });
    let mut with = options(&server.url());
    with.token = Secret::new("s3cret").unwrap();
    let backend = HttpBackend::connect(&with).unwrap();
    assert!(ask(&backend, text_request()).is_ok());
    match ask(&connect(&server), text_request()) {
        Err(BackendError::Unreachable(text)) => {
            assert!(
                text.contains("who are you") && text.contains("AMEND_API_KEY"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_is_not_there_cannot_be_connected_to() {
    match HttpBackend::connect(&options(&nobody())) {
        Err(ConnectError::Backend(BackendError::Load(text))) => {
            assert!(text.contains("nothing listens there"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let two = Server::start(|_, _| Answer::json(&json!({"data": [{"id": "a"}, {"id": "b"}]})));
    match HttpBackend::connect(&options(&two.url())) {
        Err(ConnectError::Model(text)) => assert!(text.contains("a, b"), "{text}"),
        other => panic!("{other:?}"),
    }
    let page = Server::start(|_, _| Answer::Whole(404, Vec::new(), b"nothing here".to_vec()));
    match HttpBackend::connect(&options(&page.url())) {
        Err(ConnectError::Backend(BackendError::Load(text))) => {
            assert!(text.contains("not OpenAI-compatible"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_model_elsewhere_is_the_same_model() {
    let one = connect(&Server::openai(|_, _| Answer::Hangup));
    let two = connect(&Server::openai(|_, _| Answer::Hangup));
    assert_eq!(one.identity(), two.identity());
    let other = Server::start(|seen, _| match seen.path.as_str() {
        "/v1/models" => Answer::json(&models("large")),
        _ => Answer::status(404, &Value::Null),
    });
    assert_ne!(one.identity().digest, connect(&other).identity().digest);
}

#[test]
fn every_ticket_is_answered_also_when_the_backend_goes() {
    let server = Server::openai(|_, _| Answer::Silence);
    let mut options = options(&server.url());
    options.parallel = 1;
    let backend = HttpBackend::connect(&options).unwrap();
    let (sender, replies) = unbounded();
    for ticket in 0..5 {
        backend.submit(ticket, Request::Generate(text_request()), sender.clone());
    }
    drop(backend);
    // One may be with the server; the others come back at once.
    let mut stopped = stopped(&replies, 4);
    stopped.dedup();
    assert_eq!(stopped.len(), 4);
}

#[test]
fn a_server_that_counts_no_tokens_gives_an_estimate() {
    let backend = connect(&Server::openai(|_, _| Answer::Hangup));
    assert!(!backend.counts_exactly());
    let short = backend.count_tokens(&[Message::user("a")]).unwrap();
    let long = backend
        .count_tokens(&[Message::user("a".repeat(400))])
        .unwrap();
    assert!(long > short + 50 && long < 400);
}
