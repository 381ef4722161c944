//! A viewer beside a run: what it reads keeps nobody from writing, and nothing from being written back.

use std::fs;
use std::io::BufRead;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;

use super::{Viewer, place};

/// Writes of the run.
const WRITES: u32 = 300;

/// What a run writes as it goes on, in a transaction of its own: a chain begins.
fn begin_chain(conn: &Connection, number: u32) -> rusqlite::Result<()> {
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         INSERT INTO chains (chain_id, run, position, prompt, sample, status)
             SELECT 'more{number}', run, {number} + 2, prompt, 0, 'running' FROM chains LIMIT 1;
         INSERT INTO events (run, what, chain)
             SELECT run, 'step', id FROM chains WHERE chain_id = 'more{number}';
         COMMIT"
    ))
}

#[test]
fn what_is_looked_at_holds_up_no_run() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    let conn = Connection::open(place.path("amend.db")).unwrap();
    conn.pragma_update(None, "synchronous", "normal").unwrap();
    let run: String = conn
        .query_row("SELECT run_id FROM v_runs", [], |row| row.get(0))
        .unwrap();
    let paths = [
        "/api/info".to_owned(),
        "/api/chains?q=capital&sort=-changed".to_owned(),
        "/api/charts".to_owned(),
        format!("/api/chains/{}", viewer.chain("capital")),
        format!("/api/runs/{run}"),
        format!("/api/compare?a={run}&b={run}"),
        "/api/labels?action=accept".to_owned(),
    ];
    let mut events = viewer.events().lines().map(Result::unwrap);
    // Whoever writes would not wait for anybody.
    conn.busy_timeout(Duration::ZERO).unwrap();
    let written = std::thread::scope(|scope| {
        // Nothing is asked ahead of what is written, and nothing any more when all is.
        let (asked, answers) = mpsc::sync_channel(0);
        for path in &paths {
            let (asked, viewer) = (asked.clone(), &viewer);
            scope.spawn(move || {
                while asked.send(()).is_ok() {
                    viewer.get(path).status_is(200);
                }
            });
        }
        drop(asked);
        (0..WRITES).try_for_each(|number| {
            answers.recv().unwrap();
            begin_chain(&conn, number)
        })
    });
    written.expect("a write that the viewer holds up");
    // The page heard of it, and goes on listening; nobody holds on to what he has read.
    let told = events.find(|line| line.starts_with("data: "));
    assert!(told.is_some());
    // Who looks whether something was written does so for a moment.
    conn.busy_timeout(Duration::from_secs(20)).unwrap();
    let busy: i64 = conn
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(busy, 0, "the log is held by a reader");
    let log = fs::metadata(place.path("amend.db-wal")).unwrap();
    assert_eq!(log.len(), 0);
    let chains = viewer.get("/api/chains").json();
    assert_eq!(chains["total"], json!(WRITES + 2));
}
