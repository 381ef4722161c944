//! How many requests are with a server at a time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use amend::backend::Backend;
use amend::backend::http::HttpBackend;
use amend::generation::Request;
use crossbeam_channel::unbounded;

use crate::requests::{options, text_request};
use crate::server::{Answer, Server};

#[test]
fn as_many_requests_are_with_the_server_as_were_asked_for_and_no_more() {
    // None of them is answered.
    let server = Server::openai(|_, _| Answer::Silence);
    let mut options = options(&server.url());
    options.parallel = 3;
    let backend = HttpBackend::connect(&options).unwrap();
    let (sender, _replies) = unbounded();
    for ticket in 0..5 {
        backend.submit(ticket, Request::Generate(text_request()), sender.clone());
    }
    let begun = Instant::now();
    while server.chats().len() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "fewer came");
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(200));
    assert_eq!(server.chats().len(), 3);
}
