//! Room on disk for what would take too much memory.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;

/// Memory that it may take, in KiB, before it is written to disk.
const CACHE: i64 = 4096;

/// How many things are read together.
const TOGETHER: u32 = 256;

/// Bytes by number, on shelves. They lie in a temporary file without a name, which SQLite makes in the system's folder
/// for such files (`SQLITE_TMPDIR` names another) once they take more than a few MiB, and are gone with the value.
///
/// Once it has failed it fails from then on, and says why it did first: without a journal nothing says what it holds
/// after that, and what SQLite says to other threads would only follow from it.
pub struct Scratch {
    conn: Mutex<Connection>,
    failed: OnceLock<String>,
}

/// A shelf of a [`Scratch`]: numbers on one say nothing of those on another.
pub type Shelf = u8;

impl Scratch {
    /// One that holds nothing.
    pub fn begin() -> Result<Self, StoreError> {
        let begin = || -> rusqlite::Result<Connection> {
            // A name that is empty stands for a database of this connection alone, on disk.
            let conn = Connection::open("")?;
            conn.pragma_update(None, "journal_mode", "off")?;
            conn.pragma_update(None, "synchronous", "off")?;
            conn.pragma_update(None, "cache_size", -CACHE)?;
            // One transaction for all: nothing of it is ever kept.
            conn.execute_batch(
                "CREATE TABLE scratch (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
                 CREATE TABLE met (shelf INTEGER NOT NULL, key INTEGER NOT NULL, value INTEGER NOT NULL,
                     PRIMARY KEY (shelf, key)) STRICT, WITHOUT ROWID;
                 BEGIN",
            )?;
            Ok(conn)
        };
        Ok(Self {
            conn: Mutex::new(begin().map_err(|error| StoreError::Scratch(error.to_string()))?),
            failed: OnceLock::new(),
        })
    }

    /// Puts bytes on a shelf, in place of those that have this number there.
    pub fn put(&self, shelf: Shelf, number: u32, bytes: &[u8]) -> Result<(), StoreError> {
        self.with(|conn| {
            conn.prepare_cached("INSERT OR REPLACE INTO scratch (id, body) VALUES (?1, ?2)")?
                .execute(params![id(shelf, number), bytes])
                .map(drop)
        })
    }

    /// The bytes of a number; `None` where there are none.
    pub fn get(&self, shelf: Shelf, number: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached("SELECT body FROM scratch WHERE id = ?1")?
                .query_row([id(shelf, number)], |row| row.get(0))
                .optional()
        })
    }

    /// The next few of a shelf with their numbers, in order, from a number on. Empty where there are no more.
    pub fn some(&self, shelf: Shelf, from: u32) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached(
                "SELECT id & 0xffffffff, body FROM scratch WHERE id BETWEEN ?1 AND ?2
                 ORDER BY id LIMIT ?3",
            )?
            .query_map(
                params![id(shelf, from), id(shelf, u32::MAX), TOGETHER],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?
            .collect()
        })
    }

    /// Hands out what is on a shelf, by number. Others may use it meanwhile.
    pub fn each(&self, shelf: Shelf, mut each: impl FnMut(u32, &[u8])) -> Result<(), StoreError> {
        let mut from = Some(0);
        while let Some(first) = from {
            let some = self.some(shelf, first)?;
            from = some.last().and_then(|(number, _)| number.checked_add(1));
            for (number, bytes) in &some {
                each(*number, bytes);
            }
        }
        Ok(())
    }

    /// Keeps a number under a key that was not met before; the number of one that was. These keys lie on shelves of
    /// their own, and need not be small.
    pub fn meet(&self, shelf: Shelf, key: u64, number: u32) -> Result<Option<u32>, StoreError> {
        // The same bits: only which keys are equal matters.
        let key = key.cast_signed();
        self.with(|conn| {
            let added = conn
                .prepare_cached("INSERT INTO met VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
                .execute(params![shelf, key, number])?;
            if added > 0 {
                return Ok(None);
            }
            conn.prepare_cached("SELECT value FROM met WHERE shelf = ?1 AND key = ?2")?
                .query_row(params![shelf, key], |row| row.get(0))
                .map(Some)
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let conn = self.lock();
        let failed = |reason: &String| StoreError::Scratch(reason.clone());
        match self.failed.get() {
            Some(reason) => Err(failed(reason)),
            None => {
                work(&conn).map_err(|error| failed(self.failed.get_or_init(|| error.to_string())))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // Nothing panics while it is held.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}

fn id(shelf: Shelf, number: u32) -> i64 {
    i64::from(shelf) << 32 | i64::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shelves_hold_bytes_by_number() {
        let scratch = Scratch::begin().unwrap();
        for number in (0..1000).rev() {
            scratch.put(1, number, &number.to_le_bytes()).unwrap();
        }
        scratch.put(0, u32::MAX, b"other").unwrap();
        scratch.put(2, 0, b"").unwrap();
        scratch.put(1, 7, b"again").unwrap();
        assert_eq!(scratch.get(1, 7).unwrap().as_deref(), Some(&b"again"[..]));
        assert_eq!(scratch.get(0, 7).unwrap(), None);
        assert_eq!(scratch.get(2, 0).unwrap().as_deref(), Some(&b""[..]));
        let mut met = Vec::new();
        scratch.each(1, |number, _| met.push(number)).unwrap();
        assert_eq!(met, Vec::from_iter(0..1000));
        met.clear();
        scratch.each(0, |number, _| met.push(number)).unwrap();
        assert_eq!(met, [u32::MAX]);
        assert_eq!(scratch.some(1, 1000).unwrap(), []);
    }

    #[test]
    fn a_key_is_new_once_on_every_shelf() {
        let scratch = Scratch::begin().unwrap();
        for (key, number) in [(0, 1), (u64::MAX, u32::MAX), (1 << 63, 0)] {
            assert_eq!(scratch.meet(3, key, number).unwrap(), None);
            assert_eq!(scratch.meet(3, key, 7).unwrap(), Some(number));
            assert_eq!(scratch.meet(4, key, 8).unwrap(), None);
        }
        assert_eq!(scratch.meet(4, 0, 9).unwrap(), Some(8));
        assert_eq!(scratch.get(3, 0).unwrap(), None);
    }

    #[test]
    fn what_has_failed_fails_from_then_on_and_says_why_it_did_first() {
        let scratch = Scratch::begin().unwrap();
        scratch.put(0, 0, b"first").unwrap();
        let pages = scratch.lock().pragma_update(None, "max_page_count", 16);
        pages.unwrap();
        let large = vec![7; 4096];
        let full = (1..100).find_map(|number| scratch.put(0, number, &large).err());
        let full = full.unwrap().to_string();
        assert!(full.contains("full"), "{full}");
        let after = [
            scratch.put(0, 0, b"").err(),
            scratch.get(0, 0).err(),
            scratch.some(0, 0).err(),
            scratch.each(0, |_, _| {}).err(),
            scratch.meet(0, 0, 0).map(drop).err(),
        ];
        for error in after {
            assert_eq!(error.unwrap().to_string(), full);
        }
    }
}
