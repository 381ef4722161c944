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

#[test]
fn what_is_unfolded_of_texts_is_in_the_address() {
    let place = stores::long_answers();
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).shows(".summary");
    let chains = place.amend(&["ls", "changed>0", "--json"]).success();
    let chains = chains.json_lines();
    let id = chains[0]["chain_id"].as_str().unwrap();
    let holds = |css: &str, text: &str| {
        format!("document.querySelector('{css}').textContent.includes('{text} ')")
    };
    let more = |css: &str| format!("{css} > .text .more");

    // The rest of a draft.
    browser
        .goto(&viewer.page(&format!("/chain/{id}")))
        .sees(&more(".draft"), "Show the other")
        .click(&more(".draft"))
        .hides(&more(".draft"))
        .wait("the whole draft", &holds(".draft > .text", "word11998"));
    assert!(browser.url().ends_with("?rest=0"), "{}", browser.url());
    // It stays when something else of the page changes, and when it is loaded again.
    browser
        .press("m")
        .sees(".draft .messages .more", "Show the other");
    browser
        .hides(&more(".draft"))
        .click(".draft .messages .more")
        .hides(".draft .messages .more");
    browser.reload().shows(".draft .messages .message");
    browser
        .hides(".draft .more")
        .wait("the whole draft", &holds(".draft > .text", "word11998"))
        .wait("the whole reply", &holds(".draft .reply", "word11998"));

    // What a revision leaves as it was, and of that what is longer still.
    let diff = ".revision .diff";
    let both = "document.querySelectorAll('.revision .diff .more').length === 2";
    browser
        .wait("both ends are cut", both)
        .click_text(".revision .more", "unchanged characters")
        .click_text(".revision .more", "Show the other")
        .wait("the first end is there", &holds(diff, "word5000"))
        .wait("the other is cut", &format!("!{}", holds(diff, "word9000")));
    browser.reload().shows(diff).wait(
        "the first end is there again, and the other is cut",
        &format!(
            "{} && !{}",
            holds(diff, "word5000"),
            holds(diff, "word9000")
        ),
    );
    // Another view of the same is another text.
    browser
        .click_text(".revision .views button", "After")
        .sees(".revision .more", "Show the other")
        .click_text(".revision .views button", "Diff")
        .wait("the first end is there", &holds(diff, "word5000"));
    // The texts of another chain are others.
    browser.press("j").sees(".where", "2 of 2");
    assert!(!browser.url().contains("rest="), "{}", browser.url());
    browser.shows(&more(".draft"));

    // What is no place on the page unfolds nothing, and harms nothing.
    let strange = "rest=7.99d4.0d.constructor.__proto__.-1.%3Cimg%20src%3Dx%3E.%00";
    browser
        .goto(&viewer.page(&format!("/chain/{id}?{strange}")))
        .sees(&more(".draft"), "Show the other")
        .wait("both ends are cut", both);

    // The same of two runs, by keys.
    browser.goto(&viewer.page("/compare")).shows(".pair .more");
    browser
        .press("jo")
        .wait("the first text", &holds(".pair .text", "word11998"))
        .press("oo")
        .wait("an end of the diff", &holds(".pair .diff", "word5000"));
    browser.reload().shows(".pair .diff").wait(
        "both are there again",
        &format!(
            "{} && {}",
            holds(".pair .text", "word11998"),
            holds(".pair .diff", "word5000")
        ),
    );
    browser
        .click(".check input")
        .wait("other pairs", "location.hash.includes('differs=1')");
    assert!(!browser.url().contains("rest="), "{}", browser.url());
    browser.is_clean();
}

#[test]
fn the_other_pages_of_a_comparison_are_unfolded_alike() {
    let place = stores::with_another_run(stores::many());
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).shows(".summary");
    browser
        .goto(&viewer.page("/compare"))
        .shows(".settings dt")
        .click(".compare-figures summary")
        .wait(
            "the settings are in the address",
            "location.hash.includes('settings=0')",
        );
    browser
        .click_text(".pages a", "Next")
        .sees(".pages", "21–40 of 120")
        .hides(".settings dt");
    browser.is_clean();
}

#[test]
fn what_is_beside_the_steps_has_keys() {
    let place = stores::long_answers();
    let accept = ["label", "--where", "prompt:long", "accept", "--yes"];
    place.amend(&accept).success();
    let viewer = Viewer::start(&place, &[]);
    let browser = Browser::start();
    browser.goto(&viewer.url).shows(".summary");
    browser.goto(&viewer.page("/?q=prompt%3Along"));
    browser
        .sees(".summary", "2 chains match")
        .click(".row .prompt a");
    browser.sees(".label-now", "accepted").hides(".history");
    browser.press("h").shows(".history li").wait(
        "it has the focus",
        "document.activeElement.innerText === 'History'",
    );
    browser
        .hides("details .text, .facts details pre")
        .press("f");
    browser.sees(".facts details pre", "length");
    browser.wait(
        "both are in the address",
        "location.hash.includes('more=history.fields')",
    );
    browser.reload().shows(".history li");
    browser.shows(".facts details pre");
    browser.press("hf").hides(".history");
    browser.hides(".facts details pre");

    let keep = "navigator.clipboard.writeText = async text => { window.copied = text; }";
    browser.script(keep, &[]);
    browser.press("c").sees(".toasts", "Copied").wait(
        "the command was copied",
        "window.copied === document.querySelector('.reproduce pre').textContent",
    );
    // The rest of the step that has the focus.
    browser.press("]]]o").wait(
        "the revision is unfolded",
        "document.querySelector('.draft > .text .more')
            && document.activeElement.matches('.revision')
            && document.querySelectorAll('.revision .more').length === 2
            && document.querySelector('.revision .more').innerText.includes('Show the other')",
    );

    // Who writes, writes.
    let before = browser.url();
    browser.press("t").shows("dialog textarea");
    browser.press("hfco").wait(
        "it was written",
        "document.querySelector('dialog textarea').value === 'hfco'",
    );
    assert_eq!(browser.url(), before);
    browser.press("\u{e00c}\u{e00c}").hides("dialog");
    browser.press("?").sees("dialog", "history of the labels");
    browser
        .sees("dialog", "other fields of the prompt")
        .sees("dialog", "copy the command")
        .sees("dialog", "the rest of a text that is cut");
    browser.is_clean();
}
