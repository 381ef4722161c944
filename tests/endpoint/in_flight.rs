//! How many requests are with a server at a time.

use amend::backend::Backend;
use amend::backend::http::HttpBackend;
use amend::generation::Request;
use crossbeam_channel::unbounded;

use crate::requests::{LONG, options, stopped, text_request};
use crate::server::{Answer, Server};

#[test]
fn as_many_requests_are_with_the_server_as_were_asked_for_and_no_more() {
    // None of them is answered.
    let (sender, asked) = unbounded();
    let server = Server::openai(move |_, _| {
        let _ = sender.send(());
        Answer::Silence
    });
    let mut options = options(&server.url());
    options.parallel = 3;
    let backend = HttpBackend::connect(&options).unwrap();
    let (sender, replies) = unbounded();
    for ticket in 0..5 {
        backend.submit(ticket, Request::Generate(text_request()), sender.clone());
    }
    for _ in 0..3 {
        asked.recv_timeout(LONG).expect("fewer came");
    }
    // What is with no server comes back when the backend goes.
    drop(backend);
    assert_eq!(stopped(&replies, 2), [3, 4]);
    assert_eq!(server.chats().len(), 3);
}
