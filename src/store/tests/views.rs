//! The views that other programs read: the README names each of them, and each of their columns.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::place;

const README: &str = include_str!("../../../README.md");

/// The columns that the README names for a view: in the table behind its name, or in the sentence about it.
fn documented(view: &str) -> BTreeSet<String> {
    let (_, section) = README
        .split_once(&format!("\n`{view}`"))
        .unwrap_or_else(|| panic!("the README does not describe {view}"));
    let mut blocks = section.split("\n\n");
    let sentence = blocks.next().unwrap_or_default();
    let table = blocks.next().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let names: Vec<&str> = rows.filter_map(|row| row.split('|').nth(1)).collect();
    let text = match names.is_empty() {
        true => sentence.to_owned(),
        false => names.join(" "),
    };
    in_backticks(&text)
}

/// The same for a view that filters are written over: in its row of their table.
fn documented_in_a_row(view: &str) -> BTreeSet<String> {
    let start = format!("| `{view}` | ");
    let row = README
        .lines()
        .find_map(|line| line.strip_prefix(&start))
        .unwrap_or_else(|| panic!("the README does not describe {view}"));
    let mut names = in_backticks(row);
    // What is said of texts names the full-text index.
    names.remove("search");
    names
}

fn in_backticks(text: &str) -> BTreeSet<String> {
    // Every second piece stands between backticks.
    let names = text.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

#[test]
fn every_view_is_documented_with_every_column() {
    let place = place();
    drop(place.writer("run"));
    let conn = Connection::open(&place.path).unwrap();
    let mut statement = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'view' AND name GLOB 'v_*'")
        .unwrap();
    let views: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(views.len() > 20, "{views:?}");
    for view in views {
        let statement = conn.prepare(&format!("SELECT * FROM {view}")).unwrap();
        let names = statement.column_names().into_iter();
        let columns: BTreeSet<String> = names.map(str::to_owned).collect();
        let documented = match view.starts_with("v_filter_") {
            true => documented_in_a_row(&view),
            false => documented(&view),
        };
        assert_eq!(columns, documented, "{view}");
    }
}
