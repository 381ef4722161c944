//! Texts that were begun and not saved.

use serde_json::json;

use crate::browser::Browser;
use crate::stores;
use crate::viewer::Viewer;

const ESC: &str = "\u{e00c}";

/// Waits until the field of the dialog holds a text.
fn holds(browser: &Browser, text: &str) {
    let held = "document.querySelector('dialog textarea')?.value";
    browser.wait("the field holds it", &format!("{held} === {}", json!(text)));
}

#[test]
fn what_was_begun_survives_a_reload_until_it_is_saved_or_given_up() {
    let place = stores::questions();
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".summary", "8 chains");
    browser.goto(&viewer.page("/?q=prompt%3Acapital-1"));
    browser
        .sees(".summary", "1 chain matches")
        .click(".row .prompt a");
    browser.sees(".label-now", "Not labelled").hides(".unsaved");

    browser.press("e").shows("dialog textarea");
    browser.fill("dialog textarea", "Hours of work.");
    browser.reload().sees(".begun", "edit that was not saved");
    browser.is_accessible("a chain with an edit that was not saved");
    browser.click_text(".begun button", "Go on");
    browser.sees("dialog .unsaved", "written before and not saved");
    holds(&browser, "Hours of work.");
    browser.is_accessible("an edit that was restored");
    // It is given up only where that is meant.
    browser.press(ESC).sees("dialog .problem", "not saved");
    browser
        .click_text("dialog button", "Save")
        .sees(".label-now", "edited");
    browser.hides("dialog").hides(".unsaved");
    browser.reload().sees(".label-now", "edited");
    browser.hides(".unsaved").press("e").hides(".unsaved");
    holds(&browser, "Hours of work.");

    // Given up, by the key and by the button; and begun again.
    browser.fill("dialog textarea", "Something else.");
    browser.press(ESC).sees("dialog .problem", "not saved");
    browser.press(ESC).hides("dialog").hides(".unsaved");
    browser.reload().sees(".label-now", "edited");
    browser
        .hides(".unsaved")
        .press("t")
        .shows("dialog textarea");
    browser.fill("dialog textarea", "A remark.");
    browser.reload().sees(".begun", "note that was not saved");
    browser.press("t").sees("dialog .unsaved", "written before");
    browser
        .click_text("dialog .unsaved button", "Begin again")
        .hides("dialog .unsaved");
    holds(&browser, "");
    browser
        .click_text("dialog button", "Cancel")
        .hides("dialog")
        .hides(".unsaved");
    browser.reload().sees(".label-now", "edited");
    browser.hides(".unsaved");

    // It belongs to its chain.
    browser.press("e").shows("dialog textarea");
    browser.fill("dialog textarea", "About the first one.");
    browser
        .goto(&viewer.page("/?q=prompt%3Acapital-2"))
        .reload()
        .sees(".summary", "1 chain matches")
        .click(".row .prompt a");
    browser.sees(".label-now", "Not labelled").hides(".unsaved");
    browser
        .press("e")
        .shows("dialog textarea")
        .hides("dialog .unsaved");
    browser.is_clean();
}
