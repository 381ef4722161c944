//! `amend view` as a person uses it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::browser::Browser;
use crate::builder::Place;
use crate::labels::labelled;
use crate::stores::{self, HOSTILE};

/// A viewer that is running.
pub struct Viewer {
    child: Child,
    /// The address that it printed.
    pub url: String,
}

impl Viewer {
    /// Starts one and waits for its address.
    pub fn start(place: &Place, args: &[&str]) -> Self {
        let mut all = vec!["view"];
        all.extend(args);
        let mut child = place
            .command(all)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line}");
        Self { child, url }
    }

    /// A page of this viewer, as the address writes it behind `#`.
    pub fn page(&self, hash: &str) -> String {
        let base = self.url.split('?').next().unwrap();
        format!("{base}#{hash}")
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store, a viewer of it, and a browser that shows its list.
pub fn open() -> (Place, Viewer, Browser) {
    let place = stores::questions();
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".summary", "8 chains");
    (place, viewer, browser)
}

/// Writes a filter and has it applied.
pub fn filter(browser: &Browser, expression: &str) {
    browser.press("/");
    browser.wait(
        "the filter has the focus",
        "document.activeElement.id === 'filter'",
    );
    browser.fill("#filter", expression).press("\u{e007}");
}

#[test]
fn filter_open_diff_and_go_on_within_the_filter() {
    let (_place, viewer, browser) = open();
    assert!(
        !browser.url().contains("token"),
        "the token stays in the address"
    );

    filter(&browser, "principle:no-perhaps violated:true");
    browser.sees(".summary", "3 chains match");
    assert_eq!(browser.texts(".row .prompt a").len(), 3);

    // Open, and see what the revision changed and what the critique quotes.
    browser.click(".row .prompt a").sees(".where", "1 of 3");
    browser.sees("h1", "Chain").sees(".finding", "P 0.88");
    browser.sees(".revision .diff del", "perhaps");
    browser.sees(".draft mark", "perhaps Paris");
    browser.click_text(".revision .views button", "Before");
    browser.sees(".revision .text", "perhaps Paris");
    assert!(browser.url().contains("view="), "{}", browser.url());
    browser.click_text(".revision .views button", "After");
    browser.wait(
        "the new text alone is shown",
        "!document.querySelector('.revision .text').innerText.includes('perhaps')",
    );
    // The messages that the model saw.
    browser.click_text(".critique footer button", "Messages");
    browser.sees(".critique .messages", "Does the response hedge");

    // Onwards within the filter, by keys, and back.
    browser.press("j").sees(".where", "2 of 3");
    browser.press("j").sees(".where", "3 of 3");
    browser.press("j").sees(".toasts", "no further chain");
    browser.press("k").sees(".where", "2 of 3");
    browser.back().sees(".where", "3 of 3");
    browser.press("b").sees(".summary", "3 chains match");
    // Every state is in the address.
    browser.reload().sees(".summary", "3 chains match");
    browser.press("j\u{e007}").sees(".where", "1 of 3");
    browser.press("]]").wait(
        "the step is in the address",
        "location.hash.includes('step=') && document.activeElement.matches('article.step')",
    );
    let step = "'step-' + new URLSearchParams(location.hash.split('?')[1]).get('step')";
    browser.reload().wait(
        "the step has the focus again",
        &format!("document.activeElement.id === {step}"),
    );
    // As browsers tell it where the bracket is behind AltGr; and no shortcut of the browser is taken for a key.
    let down = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true,
        altKey: arguments[1], ctrlKey: true}))";
    browser.script(down, &[json!("["), json!(true)]);
    browser.wait(
        "the step before has the focus",
        "document.activeElement.id === 'step-0'",
    );
    browser.script(down, &[json!("]"), json!(false)]);
    browser.script(down, &[json!("b"), json!(true)]);
    browser.wait(
        "the step has the focus still",
        "document.activeElement.id === 'step-0'",
    );
    // A page that is no longer there is the last one that is.
    browser.goto(&viewer.page("/?q=principle%3Ano-perhaps&offset=5000"));
    browser.sees(".summary", "match").shows(".row");
    assert!(!browser.url().contains("offset"), "{}", browser.url());
    browser.is_clean();
}

#[test]
fn numbers_are_rounded_as_commands_round_them() {
    let (place, viewer, browser) = open();
    // Many of them lie in the middle between two numbers that can be written.
    let halves = (0..=64).map(|n| f64::from(n) / 64.0);
    let numbers: Vec<f64> = halves
        .chain((0..=400).map(|n| f64::from(n) / 200.0))
        .collect();
    let rounded = browser.script_async(
        "const [numbers, done] = arguments;
        import('/format.js').then(({fixed}) => done(numbers.map(x =>
            [fixed(x * 100, 0), fixed(x, 2), fixed(x, 3), fixed(x, 4)])))",
        &[json!(numbers)],
    );
    for (x, there) in numbers.iter().zip(rounded.as_array().unwrap()) {
        let percent = x * 100.0;
        let here = [
            format!("{percent:.0}"),
            format!("{x:.2}"),
            format!("{x:.3}"),
            format!("{x:.4}"),
        ];
        assert_eq!(*there, json!(here), "{x}");
    }
    let chains = place.amend(&["ls", "stop:clean", "--json"]).success();
    let id = chains.json_lines()[0]["chain_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = place.amend(&["show", &id]).success().stdout;
    assert!(shown.contains("P 0.12"), "{shown}");
    browser
        .goto(&viewer.page(&format!("/chain/{id}")))
        .sees(".finding", "P 0.12");
    browser.is_clean();
}

#[test]
fn next_and_previous_go_on_behind_the_end_of_a_page() {
    let place = stores::many();
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".summary", "120 chains");
    filter(&browser, "rain");
    browser
        .sees(".summary", "60 chains match")
        .sees(".pages", "1–50 of 60")
        .wait(
            "the first chain has the focus",
            "document.activeElement === document.querySelector('.row a')",
        );
    // The last chain of the page, and not beyond.
    browser.press(&"j".repeat(55)).wait(
        "the last chain of the page has the focus",
        "document.activeElement.closest('.row')?.matches(':last-child')",
    );
    browser.press("\u{e007}").sees(".where", "50 of 60");
    browser.press("j").sees(".where", "51 of 60");
    browser.sees(".prompt-block", "rain number 100");
    // Back to the page of the list that it is on.
    browser.press("b").sees(".pages", "51–60 of 60");
    assert!(browser.url().contains("q=rain") && browser.url().contains("offset=50"));
    browser.press("j\u{e007}").sees(".where", "51 of 60");
    browser.press("k").sees(".where", "50 of 60");
    browser.press("b").sees(".pages", "1–50 of 60");
    browser.press("n").sees(".pages", "51–60 of 60");
    // The last chain of all.
    browser.press("k\u{e007}").sees(".where", "60 of 60");
    browser.press("j").sees(".toasts", "no further chain");
    browser.press("k").sees(".where", "59 of 60");
    browser.reload().sees(".where", "59 of 60");
    // What is no place in a list is its beginning.
    for offset in ["abc", "-3", "1e99", "0.5"] {
        browser.goto(&viewer.page(&format!("/?q=rain&offset={offset}")));
        browser.sees(".pages", "1–50 of 60");
    }
    browser.is_clean();
}

#[test]
fn the_keyboard_finds_everything_in_the_order_of_the_page() {
    let (_place, _viewer, browser) = open();
    let tab = "\u{e004}";
    browser.shows(".chart a").press(tab).wait(
        "the way past the header comes first",
        "document.activeElement.matches('.skip')",
    );
    browser.press("\u{e007}").wait(
        "the content has the focus",
        "document.activeElement.id === 'main'",
    );
    let place = "return [...document.querySelectorAll('*')].indexOf(document.activeElement)";
    let mut before = browser.script(place, &[]).as_i64().unwrap();
    let mut seen = Vec::new();
    while seen.len() < 60 && !seen.iter().any(|name: &String| name.contains("of France")) {
        browser.press(tab);
        let now = browser.script(place, &[]).as_i64().unwrap();
        assert!(now > before, "after {seen:?}");
        before = now;
        let name = "const e = document.activeElement;
            return e.id || e.getAttribute('aria-label') || e.textContent.trim().slice(0, 40)";
        seen.push(browser.script(name, &[]).as_str().unwrap().to_owned());
    }
    assert!(seen.iter().all(|name| !name.is_empty()), "{seen:?}");
    let at = |part: &str| seen.iter().position(|name| name.contains(part));
    assert_eq!(at("filter"), Some(0), "{seen:?}");
    let order = ["Charts", "Label all", "no-perhaps", "Changed", "of France"].map(at);
    assert!(order.is_sorted() && order[0].is_some(), "{seen:?}");
    browser.is_clean();
}

#[test]
fn a_read_only_viewer_writes_nothing() {
    let place = stores::questions();
    let viewer = Viewer::start(&place, &["--read-only"]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".summary", "8 chains");
    browser.click(".row .prompt a").shows(".label-now");
    browser.hides(".labels .act");
    browser.press("a");
    let answer = browser.script_async(
        "const done = arguments[arguments.length - 1];
        fetch('/api/labels', {method: 'POST', headers: {'content-type': 'application/json'},
            body: JSON.stringify({q: '', action: 'accept', expected: 8})}).then(r => done(r.status))",
        &[],
    );
    assert_eq!(answer, json!(403));
    assert_eq!(labelled(&place, "accept"), 0);
}

#[test]
fn two_runs_side_by_side() {
    let place = stores::two_runs();
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".summary", "chains");
    browser
        .click_text("nav a", "Compare")
        .sees(".summary", "pairs");
    let all = browser.texts(".pair").len();
    // Which runs they are stays as it is when another one begins.
    assert!(browser.url().contains("a=") && browser.url().contains("b="));
    browser.sees(".pair .diff", "Paris");
    browser.click(".check input").wait(
        "fewer pairs are shown",
        &format!("document.querySelectorAll('.pair').length < {all}"),
    );
    assert!(browser.url().contains("differs=1"));
    assert_eq!(
        browser.texts(".pair.differs").len(),
        browser.texts(".pair").len()
    );
    browser.click(".pair h3 a").sees("h1", "Chain");
    // Prompts are told apart by their ids and messages.
    place.write(
        "more.jsonl",
        "{\"id\": \"more\", \"prompt\": \"Is rain wet?\"}\n",
    );
    let mut run = stores::RUN.to_vec();
    run[1] = "more.jsonl";
    place.scripted(&run).success();
    let runs = place.amend(&["runs", "--json"]).success().json_lines();
    let id = |of_more: bool| {
        let path = |run: &serde_json::Value| run["prompts_path"].as_str().unwrap().to_owned();
        let mut runs = runs.iter();
        let run = runs.find(|run| path(run).ends_with("more.jsonl") == of_more);
        run.unwrap()["run_id"].as_str().unwrap()
    };
    let both = format!("/compare?a={}&b={}", id(false), id(true));
    browser
        .goto("about:blank")
        .goto(&viewer.page(&both))
        .sees(".none", "No prompt and sample has a finished chain in both");
    browser.is_clean();
}

#[test]
fn a_constitution_beside_what_it_did() {
    let (_place, _viewer, browser) = open();
    browser.press("gc").sees("h1", "test");
    browser.sees("#principle-no-perhaps .says", "Does the response hedge");
    browser.sees("#principle-no-perhaps .did", "violated");
    // Its chains.
    browser
        .click_text("#principle-no-perhaps .did a", "3")
        .sees(".summary", "3 chains match");
    browser.is_clean();
}

#[test]
fn hostile_texts_are_shown_as_text() {
    let place = stores::hostile();
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".summary", "3 chains");
    browser.sees(".row .prompt", "<img src=x onerror=");
    filter(&browser, "prompt:hostile");
    browser
        .sees(".summary", "1 chain matches")
        .click(".row .prompt a");
    stores::sees_hostile(&browser);
    browser.press("m").shows(".messages .message");
    stores::sees_hostile(&browser);
    browser.resize(400, 800);
    assert!(!browser.overflows(), "the chain is wider than 400 pixels");
    browser.goto(&viewer.page("/")).shows(".row");
    assert!(!browser.overflows(), "the list is wider than 400 pixels");
    browser.resize(1600, 1000);
    // An answer of a megabyte: its beginning, and the rest on demand.
    browser
        .goto(&viewer.page("/?q=prompt%3Along"))
        .sees(".summary", "1 chain matches");
    browser
        .click(".row .prompt a")
        .sees(".draft .text", "word0 word1");
    browser
        .sees(".draft .more", "Show the other")
        .click(".draft .more");
    browser.wait(
        "the whole answer is there",
        "document.querySelector('.draft .text').textContent.length > 1_000_000",
    );
    browser.is_clean();
    assert!(HOSTILE.contains("onerror"));
}

#[test]
fn every_page_is_accessible_and_fits_its_window() {
    let place = stores::two_runs();
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".summary", "chains");
    let chain = place
        .amend(&["ls", "revised:true", "--json"])
        .success()
        .json_lines();
    let id = chain[0]["chain_id"].as_str().unwrap();
    let run = chain[0]["run_id"].as_str().unwrap();
    let pages = [
        ("/".to_owned(), ".row"),
        (format!("/chain/{id}?open=1"), ".messages .message"),
        ("/compare".to_owned(), ".pair"),
        (format!("/constitution/{run}"), ".principle"),
    ];
    for (hash, sign) in &pages {
        for scheme in ["light", "dark"] {
            for (width, height) in [(400, 800), (1600, 1000)] {
                browser.resize(width, height).colours(scheme);
                browser
                    .goto("about:blank")
                    .goto(&viewer.page(hash))
                    .shows(sign);
                browser.is_accessible(&format!("{hash}, {scheme}, {width} pixels wide"));
                assert!(!browser.overflows(), "{hash} is wider than {width} pixels");
            }
        }
    }
    browser.press("?").shows("dialog");
    browser.is_accessible("the help");
    browser.press("\u{e00c}").hides("dialog");
    // Dialogs and a filter that is wrong, where there is little room.
    browser.resize(400, 800);
    for (hash, key, sign) in [
        ("/", "?", "dialog"),
        ("/", "l", "dialog"),
        (pages[1].0.as_str(), "e", "dialog textarea"),
        ("/?q=stop%3Acleen", "", "#filter-problem code"),
    ] {
        browser.goto("about:blank").goto(&viewer.page(hash));
        if !key.is_empty() {
            browser.shows(".row, .step").press(key);
        }
        browser.shows(sign);
        browser.is_accessible(&format!("{hash}, after {key:?}"));
        assert!(!browser.overflows(), "{hash}, after {key:?}");
    }
    browser.is_clean();
}

#[test]
fn the_viewer_asks_who_is_there() {
    let (_place, viewer, _browser) = open();
    let port = viewer
        .url
        .trim_start_matches("http://127.0.0.1:")
        .split('/')
        .next()
        .unwrap();
    let status = |args: &[&str]| {
        let output = Command::new("python3")
            .args(["-c", ASK, port])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let token = viewer.url.split("token=").nth(1).unwrap();
    let bearer = format!("authorization: Bearer {token}");
    assert_eq!(status(&[&bearer]), "200");
    assert_eq!(status(&[]), "403");
    assert_eq!(status(&["authorization: Bearer 00"]), "403");
    assert_eq!(status(&[&bearer, "host: evil.example"]), "403");
    assert_eq!(status(&[&bearer, "origin: http://evil.example"]), "403");
}

/// Asks for the list with the given headers, and prints the status.
const ASK: &str = "
import http.client, sys
connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=60)
connection.putrequest('GET', '/api/chains', skip_host=any(h.startswith('host:') for h in sys.argv[2:]))
for header in sys.argv[2:]:
    name, value = header.split(': ', 1)
    connection.putheader(name, value)
connection.endheaders()
print(connection.getresponse().status)
";
