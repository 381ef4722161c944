//! The tests' own instruments: what they would see if a page asked for something it must not.

use crate::browser::Browser;
use crate::builder::Place;

#[test]
fn what_a_page_asks_of_the_world_and_what_goes_wrong_on_it_is_seen() {
    let place = Place::new();
    place.write(
        "page.html",
        "<!doctype html><title>t</title><img src='http://outside.invalid/a.png'>\
         <script>addEventListener('load', () => { document.title = 'done'; undefinedFunction() })</script>",
    );
    let browser = Browser::start();
    browser.goto(&format!("file://{}", place.path("page.html").display()));
    browser.wait("the page is loaded", "document.title === 'done'");
    let asked = browser.asked_outside();
    assert_eq!(asked, ["GET http://outside.invalid/a.png HTTP/1.1"]);
    let requests = browser.requests();
    assert!(
        requests
            .iter()
            .any(|url| url == "http://outside.invalid/a.png"),
        "{requests:?}"
    );
    let console = browser.console();
    assert!(
        console
            .iter()
            .any(|line| line.contains("undefinedFunction")),
        "{console:?}"
    );
}

#[test]
fn what_axe_finds_fails_a_test() {
    let place = Place::new();
    place.write(
        "page.html",
        "<!doctype html><title>t</title><img src='x.png'><button></button>",
    );
    let browser = Browser::start();
    browser.goto(&format!("file://{}", place.path("page.html").display()));
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        browser.is_accessible("page")
    }));
    let message = *found.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.contains("image-alt") && message.contains("button-name"),
        "{message}"
    );
}
