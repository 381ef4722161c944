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

/// KiB of pages that are kept by who goes through a store once, as SQLite wants them given.
pub(super) const FEW_PAGES: i64 = -8192;

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
    M::up(include_str!("schema/0011_endings.sql")),
    M::up(include_str!("schema/0012_no_statistics.sql")),
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
mod tests;
