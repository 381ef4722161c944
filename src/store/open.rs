//! Opening the file: what it is, which schema it has, and how SQLite is set up.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::StoreError;
use super::lock::is_pipe;

/// Marks a file as a store; set by the first migration.
const APPLICATION_ID: i64 = 0x616d_6e64;

/// How long to wait for another process before giving up.
const BUSY: Duration = Duration::from_secs(20);

/// Between two attempts to open a store that another process is making.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The migrations in the order in which they are applied; `user_version` counts them.
const SCHEMA: &[M<'static>] = &[
    M::up(include_str!("schema/0001_store.sql")),
    M::up(include_str!("schema/0002_test_runs.sql")),
    M::up(include_str!("schema/0003_search.sql")),
    M::up(include_str!("schema/0004_lookup.sql")),
    M::up(include_str!("schema/0005_judgements.sql")),
    M::up(include_str!("schema/0006_gates.sql")),
    M::up(include_str!("schema/0007_labels.sql")),
    M::up(include_str!("schema/0008_facts.sql")),
    M::up(include_str!("schema/0009_events.sql")),
    M::up(include_str!("schema/0010_revisions.sql")),
    M::up(include_str!("schema/0011_ends.sql")),
];

/// What a database file holds.
#[derive(Debug, PartialEq)]
enum Content {
    /// Nothing yet.
    Blank,
    /// A store of the given schema.
    Schema(i64),
}

/// Opens a store for writing; makes it when there is none, and brings an older schema up to date.
pub(super) fn for_writing(path: &Path) -> Result<Connection, StoreError> {
    with_schema(path, SCHEMA)
}

/// Whether a store can be written: one that is there is opened, and one that is not needs a folder.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    match exists(path)? {
        true => for_writing(path).map(drop),
        false => parent_exists(path),
    }
}

/// Opens an existing store for adding labels. Never makes a file.
pub(super) fn for_labelling(path: &Path) -> Result<Connection, StoreError> {
    // As for reading, so that what is missing, empty or another program's is said in the same words.
    drop(for_reading(path)?);
    for_writing(path)
}

/// SQLite waits for other processes where waiting alone helps. Where two make one store at the same moment,
/// one of them has to look again.
fn with_schema(path: &Path, schema: &[M<'static>]) -> Result<Connection, StoreError> {
    let begin = Instant::now();
    loop {
        match try_with_schema(path, schema) {
            Err(StoreError::Busy(_)) if begin.elapsed() < BUSY => std::thread::sleep(LOOK_AGAIN),
            done => return done,
        }
    }
}

fn try_with_schema(path: &Path, schema: &[M<'static>]) -> Result<Connection, StoreError> {
    let fail = |error| StoreError::sqlite(path, error);
    if !exists(path)? {
        parent_exists(path)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(literal(path), flags).map_err(fail)?;
    conn.busy_timeout(BUSY).map_err(fail)?;
    let content = content(&conn, path, schema.len())?;
    if conn.is_readonly("main").map_err(fail)? {
        return Err(StoreError::ReadOnly(path.to_owned()));
    }
    let mode: String = conn
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(fail)?;
    if mode != "wal" {
        conn.pragma_update(None, "journal_mode", "wal")
            .map_err(fail)?;
    }
    conn.pragma_update(None, "synchronous", "normal")
        .map_err(fail)?;
    if content != Content::Schema(schema.len() as i64) {
        migrate(&mut conn, path, schema, &content)?;
    }
    conn.pragma_update(None, "foreign_keys", true)
        .map_err(fail)?;
    // Names come from enumerations and digests from hashing. SQLite makes a table of each list of names
    // every time that a row is checked against it.
    conn.pragma_update(None, "ignore_check_constraints", true)
        .map_err(fail)?;
    conn.pragma_update(None, "cache_size", -32_768)
        .map_err(fail)?;
    // Pages of the log before it is written back: a page that changes often is written back once.
    conn.pragma_update(None, "wal_autocheckpoint", 16_000)
        .map_err(fail)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

fn migrate(
    conn: &mut Connection,
    path: &Path,
    schema: &[M<'static>],
    before: &Content,
) -> Result<(), StoreError> {
    let done = Migrations::from_slice(schema).to_latest(conn);
    let Err(error) = done else { return Ok(()) };
    // Another process may be making the same store at this moment.
    let now = content(conn, path, schema.len())?;
    if now == Content::Schema(schema.len() as i64) {
        return Ok(());
    }
    if now != *before {
        return Err(StoreError::Busy(path.to_owned()));
    }
    Err(match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => StoreError::sqlite(path, err),
        other => StoreError::Corrupt {
            path: path.to_owned(),
            what: format!("its schema cannot be brought up to date: {other}"),
        },
    })
}

/// Opens an existing store for reading. Never makes a file.
pub(super) fn for_reading(path: &Path) -> Result<Connection, StoreError> {
    if !exists(path)? {
        return Err(StoreError::Missing(path.to_owned()));
    }
    let (mut conn, mut found) = read_or_frozen(path)?;
    if found == Content::Blank {
        return Err(StoreError::Empty(path.to_owned()));
    }
    if found != Content::Schema(SCHEMA.len() as i64) {
        drop(conn);
        drop(for_writing(path)?);
        (conn, found) = read_or_frozen(path)?;
    }
    debug_assert_eq!(found, Content::Schema(SCHEMA.len() as i64));
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Opens the file, and where its folder cannot be written or its disk is full, as one that nobody changes:
/// SQLite keeps an index of the write-ahead log beside the file, and without a log there is nothing to index.
fn read_or_frozen(path: &Path) -> Result<(Connection, Content), StoreError> {
    // Writable where that is possible, so that the last reader tidies up the write-ahead log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = read_with(path, literal(path).into_os_string(), flags);
    match opened {
        Err(
            StoreError::CannotOpen { .. }
            | StoreError::ReadOnly(_)
            | StoreError::Disk { .. }
            | StoreError::DiskFull(_),
        ) if !has_log(path) => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
                | OpenFlags::SQLITE_OPEN_URI
                | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            // Where that fails too, the first error says more.
            read_with(path, frozen_uri(path), flags).or(opened)
        }
        opened => opened,
    }
}

fn read_with(
    path: &Path,
    name: OsString,
    flags: OpenFlags,
) -> Result<(Connection, Content), StoreError> {
    let fail = |error| StoreError::sqlite(path, error);
    let conn = Connection::open_with_flags(PathBuf::from(name), flags).map_err(fail)?;
    conn.busy_timeout(BUSY).map_err(fail)?;
    conn.pragma_update(None, "query_only", true).map_err(fail)?;
    conn.pragma_update(None, "cache_size", -32_768)
        .map_err(fail)?;
    let found = content(&conn, path, SCHEMA.len())?;
    Ok((conn, found))
}

fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|meta| meta.len() > 0)
}

fn frozen_uri(path: &Path) -> OsString {
    let mut uri = String::from("file:");
    for byte in literal(path).as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => uri.push(char::from(*b)),
            b => uri.push_str(&format!("%{b:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    uri.into()
}

/// Whether there is a file; a folder is an error.
fn exists(path: &Path) -> Result<bool, StoreError> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(StoreError::IsFolder(path.to_owned())),
        // SQLite would wait for whoever writes into it.
        Ok(meta) if is_pipe(&meta) => Err(StoreError::IsPipe(path.to_owned())),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::CannotOpen {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn parent_exists(path: &Path) -> Result<(), StoreError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            Err(StoreError::CannotOpen {
                path: path.to_owned(),
                reason: format!("there is no folder {}", parent.display()),
            })
        }
        _ => Ok(()),
    }
}

/// The path as SQLite takes it literally: `:memory:` and an empty name are not special after `./`.
fn literal(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}

/// What the file holds; another program's database and a newer schema are errors.
fn content(conn: &Connection, path: &Path, known: usize) -> Result<Content, StoreError> {
    let read = || -> Result<_, Error> {
        // One moment for all three: another process may be making the store right now.
        let moment = conn.unchecked_transaction()?;
        let number =
            |pragma: &str| moment.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let objects: i64 =
            moment.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let found = (number("application_id")?, number("user_version")?, objects);
        moment.finish()?;
        Ok(found)
    };
    let known = known as i64;
    match read().map_err(|error| StoreError::sqlite(path, error))? {
        (APPLICATION_ID, found, _) if found > known => Err(StoreError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        }),
        (APPLICATION_ID, found, _) => Ok(Content::Schema(found)),
        (0, 0, 0) => Ok(Content::Blank),
        _ => Err(StoreError::Foreign(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
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
}
