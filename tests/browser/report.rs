//! `amend report`, opened from disk.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::builder::Place;
use crate::stores;

fn report(place: &Place, args: &[&str]) -> String {
    let mut all = vec!["report", "-o", "report.html"];
    all.extend(args);
    place.amend(&all).success();
    format!("file://{}", place.path("report.html").display())
}

#[test]
fn a_report_is_read_without_a_server() {
    let place = stores::questions();
    place
        .amend(&["label", "--where", "prompt:capital-1", "accept", "--yes"])
        .success();
    let url = report(&place, &["--title", "Eight <questions>"]);
    let browser = Browser::start();
    browser
        .goto(&url)
        .sees(".summary", "8 chains")
        .sees("header", "Eight <questions>")
        .hides(".scope");

    // Filter, sort by address, open, diff, on within the filter.
    browser.press("/");
    browser
        .fill("#filter", "principle:no-perhaps violated:true")
        .press("\u{e007}");
    browser
        .sees(".summary", "3 chains match")
        .click(".row .prompt a");
    browser
        .sees(".where", "1 of 3")
        .sees(".revision .diff del", "perhaps");
    browser
        .sees(".draft mark", "perhaps Paris")
        .sees(".label-now", "accepted");
    browser.hides(".labels .act");
    browser.press("m").sees(".messages", "capital of France");
    browser.press("j").sees(".where", "2 of 3");
    browser
        .press("gc")
        .sees("#principle-no-perhaps .says", "Does the response hedge");
    browser.sees("#principle-no-perhaps .did", "violated");
    browser.reload().sees("h1", "test");
    // The beginning of an id is enough of an address, where it is that of one chain.
    let chains = place.amend(&["ls", "--json"]).success().json_lines();
    let ids: Vec<_> = chains
        .iter()
        .map(|c| c["chain_id"].as_str().unwrap())
        .collect();
    let shared = |id: &&str| {
        let pairs = id.chars().zip(ids[0].chars());
        pairs.take_while(|(a, b)| a == b).count()
    };
    let length = 1 + ids[1..].iter().map(shared).max().unwrap();
    browser
        .goto(&format!("{url}#/chain/{}", &ids[0][..length]))
        .sees("h1", ids[0]);
    // Nothing but the file itself, each time that it was opened, and its icon.
    let asked = browser.requests();
    let beyond: Vec<_> = asked
        .iter()
        .filter(|address| !address.starts_with(&url) && !address.starts_with("data:"))
        .collect();
    assert!(beyond.is_empty() && !asked.is_empty(), "{beyond:?}");
    browser.is_clean();
}

#[test]
fn hostile_texts_in_a_report_are_text() {
    let place = stores::hostile();
    // No argument of a program holds NUL.
    let title = stores::HOSTILE.replace('\0', "");
    let url = report(&place, &["--title", &title]);
    let browser = Browser::start();
    browser
        .goto(&format!("{url}#/?q=prompt%3Ahostile"))
        .sees(".summary", "1 chain matches");
    browser.click(".row .prompt a");
    stores::sees_hostile(&browser);
    browser
        .goto(&format!("{url}#/?q=prompt%3Along"))
        .sees(".summary", "1 chain matches");
    browser.click(".row .prompt a").click(".draft .more");
    let whole = "document.querySelector('.draft .text').textContent.length > 1_000_000";
    browser.wait("the whole answer is there", whole);
    browser.reload().wait("it is there again", whole);
    browser.is_clean();
}

#[test]
fn a_report_of_no_chain_says_so() {
    let place = stores::questions();
    let url = report(&place, &["--where", "prompt:none"]);
    let browser = Browser::start();
    browser
        .goto(&url)
        .sees(".summary", "0 chains")
        .sees(".scope", "Made of the chains that match prompt:none")
        .sees(".none", "There are no chains here.");
    // There is no constitution to go to.
    browser.press("gc").press("?").shows("dialog");
    browser.press("\u{e00c}").hides("dialog");
    browser.sees(".summary", "0 chains");
    browser.is_accessible("a report of no chain");
    browser.is_clean();
}

#[test]
fn a_report_is_accessible_and_fits_its_window() {
    let place = stores::questions();
    let url = report(&place, &[]);
    let chain = place
        .amend(&["ls", "revised:true", "--json"])
        .success()
        .json_lines();
    let (id, run) = (
        chain[0]["chain_id"].as_str().unwrap(),
        chain[0]["run_id"].as_str().unwrap(),
    );
    let browser = Browser::start();
    for (hash, sign) in [
        ("/".to_owned(), ".row"),
        (format!("/chain/{id}"), ".step"),
        (format!("/constitution/{run}"), ".principle"),
    ] {
        for scheme in ["light", "dark"] {
            for (width, height) in [(400, 800), (1600, 1000)] {
                browser.resize(width, height).colours(scheme);
                browser
                    .goto("about:blank")
                    .goto(&format!("{url}#{hash}"))
                    .shows(sign);
                browser.is_accessible(&format!("{hash}, {scheme}, {width} pixels wide"));
                assert!(!browser.overflows(), "{hash} is wider than {width} pixels");
            }
        }
    }
    browser.is_clean();
}

/// Filters, good and bad. A report reads them by itself; what they mean is what SQL says.
const FILTERS: &[&str] = &[
    "",
    "principle:no-perhaps",
    "principle:no-perhaps violated:true",
    "(principle:no-perhaps) (violated:true)",
    "principle:ends-asking violated:true p>0.5",
    "principle!=no-perhaps kind:critique",
    "not principle:no-perhaps violated:true",
    "p>0.5",
    "p<=0.125 and not violated:true",
    "kind:recheck or kind:revision",
    "severity:minor or source:check",
    "stop:clean",
    "stop!=clean",
    "status:done rounds>=1",
    "round<1",
    "revised:yes",
    "revised-in:1",
    "revised-in>1 or revised-in<1",
    "not revised-in!=2",
    "revised:false or changed>0.3",
    "changed>0.05 changed<0.9",
    "not changed>0.3",
    "len>1.5",
    "len<1",
    "tokens>30",
    "tokens<=12 or sample:0",
    "flag:preamble",
    "flag!=preamble",
    "regressed:true",
    "label:accept",
    "label:none",
    "label!=none",
    "label:reject or label:edit",
    "human:agree",
    "human!=agree violated:true",
    "kept:true",
    "kept:false or pair:false",
    "gate:length-ratio",
    "gate!=length-ratio",
    "judged:true",
    "judged:no agree:true",
    "agree:true preference>0.5",
    "margin<0.2 or p_chosen>=0",
    "prompt:rain-1",
    "prompt!=rain-1 rain",
    "run:zzz",
    "chain:a or chain:b or chain:c or chain:1",
    "paris",
    "PARIS not perhaps",
    "\"capital is paris\"",
    "\"paris capital\"",
    "cafe naive",
    "text:\"fallt ist\"",
    "text:\"...\"",
    "schön",
    "\"It hedges\"",
    "capital or (sky and not noon)",
    "not (capital or sky)",
    "NOT capital AND rain",
    "revised:true (violated:true p>0.9 or flag:preamble)",
    "violated:maybe",
    "p>x",
    "rounds>1.5",
    "stop:cleen",
    "principel:x",
    "p≥0.5",
    "round ≥ 2",
    "stop：clean",
    "x≥1",
    "principle:",
    "and x",
    "x or",
    "(x",
    "x)",
    "\"open",
    ":x",
    "flag>preamble",
    "text!=x",
    "principle:a principle:b",
    "((((((((((((((((((((((((((((((((((x))))))))))))))))))))))))))))))))))",
    "rounds:99999999999999999999",
    "p:1e400",
];

#[test]
fn filters_mean_in_a_report_what_they_mean_in_sql() {
    let place = stores::questions();
    let label = |filter: &str, rest: &[&str]| {
        let args = [&["label", "--where", filter], rest, &["--yes"]].concat();
        place.amend(&args).success();
    };
    label("prompt:capital-1", &["accept"]);
    label("prompt:sky-1", &["reject"]);
    let url = report(&place, &[]);
    let browser = Browser::start();
    browser.goto(&url).sees(".summary", "8 chains");
    let mut some = 0;
    for filter in FILTERS {
        let here = in_report(&browser, filter);
        let there = in_sql(&place, filter);
        assert_eq!(here, there, "{filter}");
        some += usize::from(
            there["ids"]
                .as_array()
                .is_some_and(|ids| (1..8).contains(&ids.len())),
        );
    }
    assert!(some > 20, "the filters tell the chains apart");
}

/// What the report's list shows for a filter: ids in order, or the column of its mistake.
fn in_report(browser: &Browser, filter: &str) -> Value {
    browser.script_async(
        "const done = arguments[arguments.length - 1];
        const query = new URLSearchParams({q: arguments[0], charts: '0', n: String(Math.random())});
        location.hash = '#/?' + query;
        const look = () => {
            const list = document.querySelector('.list');
            if (!list || list.hasAttribute('aria-busy')) return setTimeout(look, 5);
            const problem = document.querySelector('#filter-problem').textContent;
            if (problem) return done({column: Number(/Column ([0-9]+)/.exec(problem)[1])});
            done({ids: [...document.querySelectorAll('.row[data-id]')].map(row => row.dataset.id)});
        };
        // Behind the event that tells the page of its new address.
        setTimeout(look, 30)",
        &[json!(filter)],
    )
}

fn in_sql(place: &Place, filter: &str) -> Value {
    let outcome = place.amend(&["ls", "--json", "--where", filter]);
    if outcome.code == Some(2) {
        let column = outcome.stderr.split("column ").nth(1).unwrap();
        let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
        return json!({"column": digits.parse::<u32>().unwrap()});
    }
    let rows = outcome.success().json_lines();
    let ids: Vec<_> = rows.iter().map(|row| row["chain_id"].clone()).collect();
    json!({"ids": ids})
}
