//! Servers that answer in ways which mean something else than they say.

use amend::backend::BackendError;
use serde_json::{Value, json};

use crate::requests::{ask, connect, text_request};
use crate::server::{Answer, Server, models, reply};

#[test]
fn a_server_with_a_page_for_people_at_every_path_is_no_llama_server() {
    let pages: [fn() -> Answer; 4] = [
        || Answer::status(403, &json!({"message": "Missing Authentication Token"})),
        || Answer::Whole(200, Vec::new(), b"<!doctype html><p>Welcome".to_vec()),
        || Answer::Whole(302, vec![("Location", "/login".to_owned())], Vec::new()),
        || Answer::Whole(200, Vec::new(), Vec::new()),
    ];
    for page in pages {
        let server = Server::start(move |seen, _| match seen.path.as_str() {
            "/v1/models" => Answer::json(&models("small")),
            "/v1/chat/completions" => Answer::json(&reply("Six minutes.")),
            _ => page(),
        });
        let generation = ask(&connect(&server), text_request()).unwrap();
        assert_eq!(generation.text, "Six minutes.");
        // It is asked once: another answer will not come.
        let probes = server.seen().into_iter().filter(|s| s.path == "/props");
        assert_eq!(probes.count(), 1);
    }
}

#[test]
fn what_a_llama_server_says_of_itself_is_asked_again_where_it_breaks_off() {
    let props = json!({"default_generation_settings": {"n_ctx": 100}, "chat_template": ""});
    let server = Server::start(move |seen, before| match seen.path.as_str() {
        "/v1/models" => Answer::json(&models("small")),
        "/props" if before < 3 => Answer::Whole(
            200,
            Vec::new(),
            b"{\"default_generation_settings\": {".to_vec(),
        ),
        "/props" => Answer::json(&props),
        _ => Answer::status(404, &Value::Null),
    });
    let backend = connect(&server);
    let identity = amend::backend::Backend::identity(&backend);
    assert_eq!(identity.context_length, 100);
}

#[test]
fn a_request_that_is_forbidden_fails_alone_where_others_were_answered() {
    let server = Server::openai(|_, before| match before {
        1 => Answer::status(
            403,
            &json!({"error": {"message": "your input was flagged"}}),
        ),
        _ => Answer::json(&reply("Six minutes.")),
    });
    let backend = connect(&server);
    assert!(ask(&backend, text_request()).is_ok());
    match ask(&backend, text_request()) {
        Err(BackendError::Inference(text)) => assert!(text.contains("flagged"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert!(ask(&backend, text_request()).is_ok());
    // The first one is asked again, since others may be answered meanwhile.
    let server = Server::openai(|_, before| match before {
        0 => Answer::status(403, &Value::Null),
        _ => Answer::json(&reply("Six minutes.")),
    });
    assert!(ask(&connect(&server), text_request()).is_ok());
    // Before any answer it is the token that is refused.
    let server = Server::openai(|_, _| Answer::status(403, &Value::Null));
    let refused = ask(&connect(&server), text_request());
    assert!(
        matches!(refused, Err(BackendError::Unreachable(_))),
        "{refused:?}"
    );
}

#[test]
fn an_error_under_a_status_of_success_is_tried_again_as_what_it_is() {
    let error = |code: Value| json!({"error": {"message": "no room", "code": code}});
    let server = Server::openai(move |_, before| {
        Answer::json(&match before {
            0 => error(json!(429)),
            1 => error(json!("503")),
            2 => reply("Six minutes."),
            _ => error(json!("400")),
        })
    });
    let backend = connect(&server);
    assert_eq!(ask(&backend, text_request()).unwrap().text, "Six minutes.");
    match ask(&backend, text_request()) {
        Err(BackendError::Inference(text)) => assert!(text.contains("400: no room"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.chats().len(), 4);
}
