//! Takes the pictures in `docs/screenshots`. `scripts/screenshots` makes what they show and runs this.

use std::fs;
use std::path::{Path, PathBuf};

use crate::browser::Browser;
use crate::builder::Place;
use crate::viewer::Viewer;

/// The windows: name, width and height.
const SIZES: [(&str, u32, u32); 2] = [("400", 400, 860), ("1600", 1600, 1000)];

#[test]
#[ignore = "takes pictures; run by scripts/screenshots"]
fn take() {
    let folder = std::env::var_os("AMEND_SCREENSHOTS").map(PathBuf::from);
    let folder = folder.expect("AMEND_SCREENSHOTS names the folder of amend.db and report.html");
    let db = folder.join("amend.db");
    let place = Place::new();
    let viewer = Viewer::start(&place, &["--db", db.to_str().unwrap()]);
    let browser = Browser::start();
    browser.goto(&viewer.url).sees(".summary", "chains");
    let row = best_chain(&place, &db);
    let chain = format!("/chain/{row}?q=revised%3Atrue");
    let report = format!("file://{}#", folder.join("report.html").display());
    let pages = [
        ("list", viewer.page("/"), ".chart"),
        ("chain", viewer.page(&chain), ".step"),
        ("compare", viewer.page("/compare?differs=1"), ".pair"),
        ("report", format!("{report}/?q=revised%3Atrue"), ".chart"),
    ];
    for (name, url, sign) in &pages {
        for (size, width, height) in SIZES {
            browser.resize(width, height).colours("light");
            browser.goto("about:blank").goto(url).shows(sign);
            save(&browser, &format!("{name}-{size}"));
        }
    }
    browser.resize(1600, 1000).colours("dark");
    browser.goto("about:blank").goto(&pages[1].1).shows(".step");
    save(&browser, "chain-dark-1600");
}

/// A revised chain whose critique quotes the response, where there is one.
fn best_chain(place: &Place, db: &Path) -> String {
    for filter in [
        "revised:true not flag:quote-unverified not flag:truncated",
        "revised:true not flag:quote-unverified",
        "revised:true",
    ] {
        let args = [
            "ls",
            "--db",
            db.to_str().unwrap(),
            "--json",
            "--where",
            filter,
        ];
        let rows = place.amend(&args).success().json_lines();
        if let Some(row) = rows.first() {
            return row["chain_id"].as_str().unwrap().to_owned();
        }
    }
    panic!("no chain was revised");
}

fn save(browser: &Browser, name: &str) {
    // Fonts and layout have settled when two frames have been drawn.
    browser.script_async(
        "const done = arguments[0]; document.fonts.ready.then(() =>
        requestAnimationFrame(() => requestAnimationFrame(() => done(true))))",
        &[],
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screenshots");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.png")), browser.screenshot()).unwrap();
}
