//! A viewer while a run writes.

use std::process::{Child, Stdio};

use crate::browser::Browser;
use crate::builder::Place;
use crate::stores;
use crate::viewer::{Viewer, filter};

#[test]
fn new_chains_appear_while_a_run_writes() {
    let place = stores::waiting();
    let mut run = Running::begin(&place);
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".live", "under way");
    browser.script("window.sameDocument = true", &[]);
    let before = browser.texts(".row").len();
    place.write("go", "");
    browser.sees(".summary", "4 chains");
    browser.wait(
        "the new chains are in the list, in the document that was there",
        &format!("document.querySelectorAll('.row').length > {before} && window.sameDocument"),
    );
    browser.wait(
        "the run is over",
        "!document.querySelector('.live').innerText && ![...document.querySelectorAll('.stop')].some(e => e.innerText === 'running')",
    );
    assert!(run.0.wait().unwrap().success());
    browser.is_clean();
}

#[test]
fn a_filter_stays_while_a_run_writes() {
    let place = stores::waiting();
    let mut run = Running::begin(&place);
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".live", "under way");
    browser.script("window.sameDocument = true", &[]);
    filter(&browser, "status:done");
    browser
        .sees(".summary", "1 chain matches")
        .sees(".chart", "clean");
    // Somebody is about to change the filter.
    browser.press("/").wait(
        "the filter has the focus",
        "document.activeElement.id === 'filter'",
    );
    place.write("go", "");
    browser.sees(".summary", "4 chains match").wait(
        "the charts follow",
        "[...document.querySelectorAll('.chart .bars a')].some(a => /^clean\\s*4$/.test(a.innerText.trim()))",
    );
    browser.wait(
        "nothing was taken from the reader",
        "document.activeElement.id === 'filter' && document.activeElement.value === 'status:done' \
         && window.sameDocument",
    );
    assert!(
        browser.url().contains("q=status%3Adone"),
        "{}",
        browser.url()
    );
    assert!(run.0.wait().unwrap().success());
    browser.is_clean();
}

#[test]
fn a_chain_learns_of_new_neighbours_while_a_run_writes() {
    let place = stores::waiting();
    let mut run = Running::begin(&place);
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".live", "under way");
    filter(&browser, "status:done");
    browser
        .sees(".summary", "1 chain matches")
        .click(".row .prompt a");
    browser.sees(".where", "1 of 1");
    browser.press("m").shows(".messages .message");
    place.write("go", "");
    browser.sees(".where", "1 of 4");
    // What was opened stays open.
    browser.shows(".messages .message");
    browser.press("j").sees(".where", "2 of 4");
    browser.press("b").sees(".summary", "4 chains match");
    assert!(run.0.wait().unwrap().success());
    browser.is_clean();
}

struct Running(Child);

impl Running {
    /// Begins the run of a place in which later chains wait, and waits for its first chain.
    fn begin(place: &Place) -> Self {
        let mut run = place.command(stores::RUN);
        run.args([
            "--backend",
            "scripted",
            "--script",
            "script.yaml",
            "--parallel",
            "1",
        ]);
        let mut run = Self(
            run.stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        while place
            .amend(&["ls", "status:done", "--json"])
            .stdout
            .lines()
            .count()
            == 0
        {
            assert!(run.0.try_wait().unwrap().is_none(), "the run ended early");
        }
        run
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
