//! What files are taken for, older schemas, and makers at the same moment.

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn version(conn: &Connection) -> i64 {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[test]
fn the_migrations_are_sound() {
    Migrations::from_slice(SCHEMA).validate().unwrap();
}

#[test]
fn a_fresh_store_has_the_latest_schema_and_is_set_up() {
    let dir = folder();
    let path = dir.path().join("a b%?#.db");
    let conn = for_writing(&path).unwrap();
    assert_eq!(version(&conn), SCHEMA.len() as i64);
    let text = |pragma| {
        conn.pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0))
            .unwrap()
    };
    assert_eq!(text("journal_mode"), "wal".to_owned().into());
    assert_eq!(text("foreign_keys"), 1.into());
    assert_eq!(text("synchronous"), 1.into());
    drop(conn);
    drop(for_writing(&path).unwrap());
    drop(for_reading(&path).unwrap());
}

#[test]
fn an_older_schema_is_brought_up_to_date_with_its_rows_kept() {
    let dir = folder();
    let path = dir.path().join("old.db");
    let conn = for_writing(&path).unwrap();
    conn.execute_batch("INSERT INTO texts (digest, body) VALUES (zeroblob(32), 'kept')")
        .unwrap();
    drop(conn);
    let mut next = SCHEMA.to_vec();
    next.push(M::up("ALTER TABLE runs ADD COLUMN note TEXT"));
    let conn = with_schema(&path, &next).unwrap();
    assert_eq!(version(&conn), SCHEMA.len() as i64 + 1);
    let body: String = conn
        .query_row("SELECT body FROM texts", [], |row| row.get(0))
        .unwrap();
    assert_eq!(body, "kept");
    conn.execute_batch("UPDATE runs SET note = 'new column'")
        .unwrap();
    drop(conn);
    // To this version, that file is now one of a newer schema.
    for error in [
        for_writing(&path).unwrap_err(),
        for_reading(&path).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NewerSchema { .. }), "{error}");
        assert!(error.to_string().contains("use a newer amend"), "{error}");
    }
}

#[test]
fn what_the_first_schema_made_searchable_stays_searchable() {
    let dir = folder();
    let path = dir.path().join("first.db");
    let conn = with_schema(&path, &SCHEMA[..1]).unwrap();
    conn.execute_batch(
        "INSERT INTO texts (id, digest, body) VALUES (1, zeroblob(32), 'an early question');
         INSERT INTO prompts (digest, prompt_id, text, metadata)
             VALUES (zeroblob(32), 'p', 1, '{}');",
    )
    .unwrap();
    drop(conn);
    let conn = for_writing(&path).unwrap();
    assert_eq!(version(&conn), SCHEMA.len() as i64);
    let found: i64 = conn
        .query_row(
            "SELECT rowid FROM search WHERE search MATCH 'early'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(found, 1);
    // Refused when index and texts do not agree.
    conn.execute_batch("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)")
        .unwrap();
    let triggers: i64 = conn
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'search%'
                 AND name <> 'search_remove'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(triggers, 0, "texts would be added twice");
}

/// How many tables hold statistics for the planner.
fn statistics(conn: &Connection) -> i64 {
    conn.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'",
        [],
        |row| row.get(0),
    )
    .unwrap()
}

#[test]
fn statistics_of_an_older_store_are_forgotten() {
    let dir = folder();
    let path = dir.path().join("older.db");
    let conn = with_schema(&path, &SCHEMA[..11]).unwrap();
    conn.execute_batch("INSERT INTO texts (digest, body) VALUES (zeroblob(32), 'a text'); ANALYZE")
        .unwrap();
    assert!(statistics(&conn) > 0);
    drop(conn);
    assert_eq!(statistics(&for_reading(&path).unwrap()), 0);
    assert_eq!(statistics(&for_writing(&path).unwrap()), 0);
}

#[test]
fn verdicts_and_flags_of_an_older_schema_learn_their_chains() {
    let dir = folder();
    let path = dir.path().join("older.db");
    let conn = with_schema(&path, &SCHEMA[..4]).unwrap();
    conn.execute_batch(
        "INSERT INTO texts (id, digest, body) VALUES (1, zeroblob(32), 'a text');
         INSERT INTO prompts (id, digest, prompt_id, text, metadata)
             VALUES (1, zeroblob(32), 'p', 1, '{}');
         INSERT INTO models VALUES (1, '', '', '', '{}');
         INSERT INTO runs VALUES (1, 'r', '', '', 0, 'done', '', '{}', 1, '', '', 1, 1, '', '', '', '');
         INSERT INTO chains (id, chain_id, run, position, prompt, sample, status)
             VALUES (7, 'c', 1, 0, 1, 0, 'done');
         INSERT INTO steps (id, chain, ordinal, round, kind, principle, output, adopted)
             VALUES (3, 7, 0, 0, 'draft', NULL, 1, 1), (4, 7, 1, 1, 'critique', 'kind', 1, 0);
         INSERT INTO verdicts VALUES (4, 1, 0.75, 'minor', NULL, 0, 1, 'model');
         INSERT INTO step_flags VALUES (4, 0, 'truncated');",
    )
    .unwrap();
    drop(conn);
    let conn = for_writing(&path).unwrap();
    let verdict: (i64, String, String) = conn
        .query_row("SELECT chain, kind, principle FROM verdicts", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(verdict, (7, "critique".to_owned(), "kind".to_owned()));
    let flag: i64 = conn
        .query_row("SELECT chain FROM step_flags", [], |row| row.get(0))
        .unwrap();
    assert_eq!(flag, 7);
    let label: Option<String> = conn
        .query_row("SELECT label FROM v_chains", [], |row| row.get(0))
        .unwrap();
    assert_eq!(label, None);
}

#[test]
fn ends_of_an_older_schema_learn_their_reasons() {
    let dir = folder();
    let path = dir.path().join("older.db");
    let conn = with_schema(&path, &SCHEMA[..10]).unwrap();
    // One chain that failed and then ended well, one that failed and is under way again, one that failed.
    conn.execute_batch(
        "INSERT INTO texts (id, digest, body) VALUES (1, zeroblob(32), 'a text');
         INSERT INTO prompts (id, digest, prompt_id, text, metadata)
             VALUES (1, zeroblob(32), 'p', 1, '{}');
         INSERT INTO models VALUES (1, '', '', '', '{}');
         INSERT INTO runs VALUES (1, 'r', '', '', 0, 'done', '', '{}', 1, '', '', 1, 1, '', '', '', '');
         INSERT INTO chains (id, chain_id, run, position, prompt, sample, status, stop_reason) VALUES
             (1, 'a', 1, 0, 1, 0, 'done', 'clean'), (2, 'b', 1, 1, 1, 1, 'running', NULL),
             (3, 'c', 1, 2, 1, 2, 'failed', 'failed');
         INSERT INTO events (run, what, chain) VALUES
             (1, 'end', 1), (1, 'end', 2), (1, 'step', 1), (1, 'end', 1), (1, 'end', 3);",
    )
    .unwrap();
    drop(conn);
    let conn = for_writing(&path).unwrap();
    let mut statement = conn
        .prepare("SELECT chain_id, ifnull(stop_reason, '-') FROM v_events ORDER BY event")
        .unwrap();
    let told: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let told: Vec<_> = told
        .iter()
        .map(|(chain, why)| format!("{chain} {why}"))
        .collect();
    assert_eq!(told, ["a failed", "b failed", "a -", "a clean", "c failed"]);
}

#[test]
fn reading_makes_no_file() {
    let dir = folder();
    let path = dir.path().join("none.db");
    let error = for_reading(&path).unwrap_err();
    assert!(
        error.to_string().contains("`amend run` makes one"),
        "{error}"
    );
    assert!(!path.exists());
}

#[test]
fn what_is_no_store_is_told_apart() {
    let dir = folder();
    let text = dir.path().join("text.db");
    std::fs::write(
        &text,
        "not a database, but long enough to have a header".repeat(9),
    )
    .unwrap();
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let before = std::fs::read(&foreign).unwrap();
    for open in [for_writing, for_reading] {
        assert!(matches!(open(&text).unwrap_err(), StoreError::NotSqlite(_)));
        assert!(matches!(
            open(&foreign).unwrap_err(),
            StoreError::Foreign(_)
        ));
        assert!(matches!(
            open(dir.path()).unwrap_err(),
            StoreError::IsFolder(_)
        ));
    }
    assert_eq!(std::fs::read(&foreign).unwrap(), before);
    let blank = dir.path().join("blank.db");
    std::fs::write(&blank, "").unwrap();
    assert!(matches!(
        for_reading(&blank).unwrap_err(),
        StoreError::Empty(_)
    ));
    let lost = dir.path().join("no/such/folder.db");
    let error = for_writing(&lost).unwrap_err().to_string();
    assert!(error.contains("there is no folder"), "{error}");
}

#[test]
fn a_reader_cannot_write() {
    let dir = folder();
    let path = dir.path().join("a.db");
    drop(for_writing(&path).unwrap());
    let conn = for_reading(&path).unwrap();
    let error = conn.execute_batch("DELETE FROM runs").unwrap_err();
    let error = StoreError::sqlite(&path, error);
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
}

#[test]
fn an_index_of_the_log_without_room_is_told_as_a_full_disk() {
    use rusqlite::ffi;
    let error = ffi::Error::new(ffi::SQLITE_IOERR_SHMSIZE);
    let error = rusqlite::Error::SqliteFailure(error, None);
    let error = StoreError::sqlite(Path::new("a.db"), error);
    assert!(matches!(error, StoreError::DiskFull(_)), "{error}");
}

#[test]
fn a_file_that_nobody_changes_is_read_without_a_log() {
    let dir = folder();
    let path = dir.path().join("a ?#%é.db");
    drop(for_writing(&path).unwrap());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let (conn, found) = read_with(&path, frozen_uri(&path), flags).unwrap();
    assert_eq!(found, Content::Schema(SCHEMA.len() as i64));
    assert!(conn.is_readonly("main").unwrap());
    let beside = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(beside, 1, "no log was made");
}

#[test]
fn stores_made_at_the_same_moment_are_one() {
    let dir = folder();
    for round in 0..20 {
        let path = dir.path().join(format!("race-{round}.db"));
        std::thread::scope(|scope| {
            let open = || for_writing(&path).map(|conn| version(&conn));
            let handles: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            for handle in handles {
                assert_eq!(handle.join().unwrap().unwrap(), SCHEMA.len() as i64);
            }
        });
    }
}
