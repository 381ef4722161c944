//! Labels given in the viewer.

use crate::builder::Place;
use crate::viewer::{filter, open};

#[test]
fn label_undo_edit_and_what_they_do_to_an_export() {
    let (place, viewer, browser) = open();
    filter(&browser, "principle:no-perhaps violated:true");
    browser
        .sees(".summary", "3 chains match")
        .click(".row .prompt a");
    browser.sees(".label-now", "Not labelled");

    browser.press("a").sees(".label-now", "accepted");
    assert_eq!(labelled(&place, "accept"), 1);
    browser.press("u").sees(".label-now", "Not labelled");
    assert_eq!(labelled(&place, "accept"), 0);
    browser.press("r").sees(".label-now", "rejected");

    browser.press("e").shows("dialog textarea");
    browser.fill("dialog textarea", "Paris, written by hand.");
    browser
        .click_text("dialog button", "Save")
        .sees(".label-now", "edited");
    assert_eq!(labelled(&place, "edit"), 1);
    browser
        .click_text(".labels summary", "History")
        .sees(".history", "took back");

    // Agreement with a verdict.
    browser.click_text(".critique .agree button", "Disagree");
    browser.shows(".critique .agree button[aria-pressed=true]");

    // All that match, with the number named first.
    browser
        .goto(&viewer.page("/?q=stop%3Aclean"))
        .sees(".summary", "match");
    let clean = place
        .amend(&["ls", "stop:clean", "--json"])
        .success()
        .json_lines()
        .len();
    browser
        .click_text(".bulk button", "Label all")
        .click_text("dialog button", "Reject");
    browser.click_text("dialog button", &format!("Reject {clean}"));
    browser.hides("dialog").sees(".row .label", "rejected");
    assert_eq!(labelled(&place, "reject"), clean);
    browser.is_clean();

    place
        .amend(&["export", "--format", "trl-sft", "--out", "sft"])
        .success();
    let rows = place.read("sft/train.jsonl");
    assert!(rows.contains("Paris, written by hand."), "{rows}");
    assert_eq!(rows.lines().count(), 8 - clean, "{rows}");
}

#[test]
fn a_label_belongs_to_the_chain_that_it_was_begun_on() {
    let (place, viewer, browser) = open();
    filter(&browser, "principle:no-perhaps violated:true");
    browser
        .sees(".summary", "3 chains match")
        .click(".row .prompt a");
    browser.sees(".where", "1 of 3");
    browser.press("j").sees(".where", "2 of 3");
    browser.press("e").shows("dialog textarea");
    browser.fill("dialog textarea", "About the second chain.");
    // Back at the first chain, what was begun on the second one is still open.
    browser.back().sees(".where", "1 of 3");
    browser
        .click_text("dialog button", "Save")
        .sees(".toasts", "Edited");
    let edited = place
        .amend(&["ls", "label:edit", "--json"])
        .success()
        .json_lines();
    assert_eq!(edited.len(), 1);
    assert_eq!(edited[0]["prompt_id"], "capital-2");

    // The beginning of an id is enough of an address.
    let id = edited[0]["chain_id"].as_str().unwrap();
    let beginning = &id[..id.len() - 1];
    browser
        .goto(&viewer.page(&format!("/chain/{beginning}")))
        .sees(".label-now", "edited");
    browser.press("m").shows(".messages .message");
    browser.press("r").sees(".label-now", "rejected");
    assert_eq!(labelled(&place, "reject"), 1);
    browser.is_clean();
}

#[test]
fn a_text_that_cannot_be_saved_is_not_lost() {
    let (_place, viewer, browser) = open();
    browser
        .click(".row .prompt a")
        .sees(".label-now", "Not labelled");
    browser.press("e").shows("dialog textarea");
    browser.fill("dialog textarea", "Hours of work.");
    browser
        .press("\u{e00c}") // Esc
        .sees("dialog .problem", "not saved");
    drop(viewer);
    browser
        .click_text("dialog button", "Save")
        .sees("dialog .problem", "does not answer");
    browser.wait(
        "the text is still there",
        "document.querySelector('dialog textarea').value === 'Hours of work.'",
    );
    browser.press("\u{e00c}\u{e00c}").hides("dialog textarea");
}

/// The server answers, and says no.
#[test]
fn a_label_that_was_refused_can_be_given_again() {
    let (place, _viewer, browser) = open();
    browser
        .click(".row .prompt a")
        .sees(".label-now", "Not labelled");
    browser.script(
        "const ask = window.fetch;
        window.fetch = (address, options) => options?.method === 'POST'
            ? Promise.resolve(new Response('{\"error\": {\"message\": \"the store is locked\"}}', {status: 503}))
            : ask(address, options);
        window.letThrough = () => { window.fetch = ask }",
        &[],
    );
    browser.press("a").sees(".toasts", "the store is locked");
    browser.sees(".label-now", "Not labelled");
    browser.press("e").shows("dialog textarea");
    browser.fill("dialog textarea", "Paris, by hand.");
    browser
        .click_text("dialog button", "Save")
        .sees("dialog .problem", "Not saved. the store is locked");
    browser.wait(
        "the text is still there",
        "document.querySelector('dialog textarea').value === 'Paris, by hand.'",
    );
    assert_eq!(labelled(&place, "edit"), 0);
    browser.script("window.letThrough()", &[]);
    browser
        .click_text("dialog button", "Save")
        .hides("dialog")
        .sees(".label-now", "edited");
    assert_eq!(labelled(&place, "edit"), 1);
    // Kept once, however often it was tried.
    browser.wait(
        "the history has one entry",
        "document.querySelectorAll('.history > li').length === 1",
    );
    browser.is_clean();
}

/// How many chains have such a label.
pub fn labelled(place: &Place, label: &str) -> usize {
    let filter = format!("label:{label}");
    place
        .amend(&["ls", &filter, "--json"])
        .success()
        .json_lines()
        .len()
}
