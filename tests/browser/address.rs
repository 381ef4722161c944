//! What is in the address of a page.

use crate::browser::Browser;
use crate::stores;
use crate::viewer::Viewer;

#[test]
fn what_is_unfolded_is_in_the_address() {
    let place = stores::questions();
    // More principles than a chart shows at once.
    let principle = |n| {
        format!(
            "  - {{id: brief-{n}, title: Brief, revision: Cut it., check: {{max_words: 40}}}}\n"
        )
    };
    let principles: String = (0..8).map(principle).collect();
    let head = "schema: 1\nname: many\nversion: 1.0.0\nprinciples:\n";
    place.write("many.yaml", format!("{head}{principles}"));
    let mut run = stores::RUN.to_vec();
    run[3] = "many.yaml";
    place.scripted(&run).success();
    let accept = ["label", "--where", "prompt:capital-1", "accept", "--yes"];
    place.amend(&accept).success();

    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    let is = |what: &str| format!("location.hash.includes('{what}')");
    browser
        .goto(&viewer.url)
        .sees(".summary", "16 chains")
        .hides(".bars .beyond")
        .click_text(".charts button", "all 10")
        .shows(".bars .beyond")
        .wait("the chart is in the address", &is("bars=Verdicts"));
    browser.reload().shows(".bars .beyond");
    browser.wait(
        "the button stays",
        "[...document.querySelectorAll('.charts button')].some(e => e.innerText === 'fewer')",
    );

    // On a chain, and back.
    browser.goto(&viewer.page("/?q=prompt%3Acapital-1&bars=Verdicts"));
    browser
        .sees(".summary", "2 chains match")
        .click(".row .prompt a");
    browser
        .sees(".label-now", "accepted")
        .hides(".history")
        .click_text(".labels summary", "History")
        .shows(".history li")
        .wait("the history is in the address", &is("more=history"));
    browser.reload().shows(".history li");
    browser.press("j").sees(".where", "2 of 2");
    browser.shows(".history li");
    browser
        .press("b")
        .sees(".summary", "2 chains match")
        .shows(".bars .beyond");

    // In what two runs differ.
    browser
        .goto(&viewer.page("/compare"))
        .shows(".settings dt")
        .click(".compare-figures summary")
        .hides(".settings dt")
        .wait("the settings are in the address", &is("settings=0"));
    browser.reload().sees(".summary", "pairs");
    browser
        .hides(".settings dt")
        .click(".compare-figures summary");
    browser.shows(".settings dt");
    browser.is_clean();
}
