//! The filter: what completes it, what is wrong with it, and what is kept.

use serde_json::json;

use crate::labels::labelled;
use crate::viewer::{Viewer, filter, open};

#[test]
fn a_filter_completes_and_says_where_it_is_wrong() {
    let (place, _viewer, browser) = open();
    browser.press("/");
    browser
        .fill("#filter", "marg")
        .sees("#filter-options", "a judgement")
        .fill("#filter", "text:\"princ")
        .hides("#filter-options")
        .fill("#filter", "princ")
        .sees("#filter-options", "principle");
    browser.press("\u{e015}\u{e007}"); // Arrow down, Enter
    browser.sees("#filter-options", "no-perhaps");
    filter(&browser, "stop:cleen");
    browser
        .sees("#filter-problem", "Column 6")
        .sees("#filter-problem", "clean");
    // What is typed to mend it is no command.
    browser.press("nc").wait(
        "the filter is still being written",
        "document.activeElement.id === 'filter' && document.activeElement.value === 'stop:cleennc'",
    );
    filter(&browser, "stop:clean");
    browser
        .hides("#filter-problem code")
        .sees(".summary", "match");
    // A bar of a chart puts its term into the filter.
    filter(&browser, "");
    browser
        .sees(".summary", "8 chains")
        .click_text(".chart a", "no-perhaps");
    browser.sees(".summary", "3 chains match");
    // Whatever stands there already.
    filter(&browser, "stop:clean or stop:rounds-done");
    browser.wait(
        "the charts are those of the filter",
        "[...document.querySelectorAll('.chart .bars a')].some(a => a.hash.includes('rounds-done%29'))",
    );
    browser
        .click_text(".chart .bars a", "clean")
        .shows(".chart .bars a[aria-current=true]");
    browser.wait(
        "both conditions hold",
        "document.querySelector('#filter').value === '(stop:clean or stop:rounds-done) stop:clean'",
    );
    browser.hides("#filter-problem code");
    browser.click_text(".chart .bars a", "clean").wait(
        "the first condition is left",
        "document.querySelector('#filter').value === '(stop:clean or stop:rounds-done)'",
    );
    // A kept filter is there in the next viewer, at another port.
    browser.press("w").sees(".kept", "stop:rounds-done");
    let other = Viewer::start(&place, &[]);
    browser
        .goto(&other.url)
        .sees(".kept", "stop:rounds-done")
        .click_text(".kept button", "stop:rounds-done")
        .sees(".summary", "match");
    browser.is_clean();
}

#[test]
fn bars_of_charts_have_keys() {
    let (_place, _viewer, browser) = open();
    let at_bar = |title: &str, at: u32| {
        let what = format!("bar {at} of {title} has the focus");
        let chart = "document.activeElement.closest('.chart')";
        browser.wait(
            &what,
            &format!(
                "{chart}?.querySelector('b').innerText === '{title}' \
                 && [...{chart}.querySelectorAll('a')].indexOf(document.activeElement) === {at}"
            ),
        );
    };
    let at_chains = || {
        browser.wait(
            "the first chain has the focus",
            "document.activeElement === document.querySelector('.row a')",
        );
    };
    browser.shows(".chart a").press("b");
    at_bar("Verdicts", 0);
    browser.press("j");
    at_bar("Verdicts", 1);
    // No further than its last bar.
    browser.press("jkj");
    at_bar("Verdicts", 1);
    // Enter filters, and takes the condition back.
    browser
        .press("\u{e007}")
        .sees(".summary", "3 chains match")
        .shows(".chart .bars a[aria-current=true]");
    at_bar("Verdicts", 1);
    browser.press("\u{e007}").sees(".summary", "8 chains");
    browser.press("b");
    at_bar("Revisions", 0);
    browser.press("b");
    at_bar("Length", 0);
    browser.press("j");
    at_bar("Length", 1);
    // From the last chart to the chains, and back.
    browser.press("BBB");
    at_chains();
    browser.press("B");
    at_bar("Endings", 0);
    browser.press("b");
    at_chains();
    browser
        .press("c")
        .hides(".chart")
        .press("b")
        .sees(".toasts", "There are no charts");
    browser.press("?").sees(".help", "chart: j and k");
    browser.is_clean();
}

#[test]
fn a_mistake_is_marked_where_it_stands() {
    let (_place, viewer, browser) = open();
    // Spaces before the filter count as the reader sees them; characters beyond the first plane are one each.
    let write = |text: &str| {
        let body = "const e = document.querySelector('#filter'); e.value = arguments[0];
            e.dispatchEvent(new Event('input'))";
        browser.script(body, &[json!(text)]);
    };
    for (filter, column, marked) in [
        ("  stop:cleen", "Column 8", "c"),
        ("🗼é prob>x", "Column 4", "p"),
        ("(a or b", "Column 1", "("),
        ("a and", "Column 6", "␣"),
    ] {
        browser.goto("about:blank").goto(&viewer.page("/"));
        browser.shows(".row");
        write(filter);
        browser.sees("#filter-problem", column);
        assert_eq!(browser.texts("#filter-problem u"), [marked], "{filter}");
    }
    // However long what is wrong: nothing grows wider than the window.
    browser.resize(400, 800);
    write(&format!("{}:x", "key".repeat(500)));
    browser.sees("#filter-problem", "unknown key `keykeykey");
    assert!(!browser.overflows());
    browser.is_clean();
}

#[test]
fn what_is_typed_into_a_field_is_no_command() {
    let (place, viewer, browser) = open();
    let keys = "jknpcbBsSvwl?gl]dmbareatyxu";
    browser.press("/").wait(
        "the filter has the focus",
        "document.activeElement.id === 'filter'",
    );
    browser.press(keys).sees(".summary", "0 chains match");
    browser.wait(
        "everything was typed, and nothing done",
        &format!(
            "document.querySelector('#filter').value === {} && !document.querySelector('dialog') \
             && document.activeElement.id === 'filter'",
            json!(keys)
        ),
    );
    browser.goto(&viewer.page("/?q=prompt%3Acapital-1"));
    browser
        .sees(".summary", "1 chain matches")
        .click(".row .prompt a");
    browser.sees(".label-now", "Not labelled");
    let address = browser.url();
    browser.press("t").shows("dialog textarea");
    browser
        .fill("dialog textarea", keys)
        .click_text("dialog button", "Save")
        .sees(".label-now", keys);
    assert_eq!(browser.url(), address);
    for label in ["accept", "reject", "edit"] {
        assert_eq!(labelled(&place, label), 0, "{label}");
    }
    // Letters choose in a list of runs.
    browser.press("gc").sees("h1", "test");
    browser.script("document.querySelector('main select').focus()", &[]);
    let address = browser.url();
    browser.press("gl").press("?");
    assert_eq!(browser.url(), address);
    browser.hides("dialog");
    browser.is_clean();
}

#[test]
fn kept_filters_stay_until_they_are_forgotten() {
    let (place, viewer, browser) = open();
    for kept in ["stop:clean", "revised:true"] {
        filter(&browser, kept);
        browser.sees(".summary", "match").wait(
            "keys are for the chains again",
            "Boolean(document.activeElement.closest('.row'))",
        );
        browser.press("w").sees(".kept", kept);
        browser.press("w").sees(".toasts", "no new filter");
    }
    browser.reload().sees(".kept", "revised:true");
    // At another port, when the first viewer is long gone.
    let other = Viewer::start(&place, &[]);
    browser.goto(&other.url).sees(".summary", "8 chains");
    drop(viewer);
    for kept in ["stop:clean", "revised:true", "stop:clean"] {
        browser.press("v").wait(
            "the next filter is used",
            &format!(
                "document.querySelector('#filter').value === {}",
                json!(kept)
            ),
        );
        browser.sees(".summary", "match").wait(
            "keys are for the chains again",
            "Boolean(document.activeElement.closest('.row'))",
        );
    }
    browser.click(".kept-filter:first-child .forget").wait(
        "one is left",
        "document.querySelectorAll('.kept-filter').length === 1",
    );
    browser.reload().sees(".kept", "revised:true");
    assert_eq!(browser.texts(".kept-filter").len(), 1);
    browser.is_clean();
}
