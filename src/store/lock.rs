//! One process per run.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StoreError;

/// How often a lock file that vanished while it was being locked is made anew.
const ATTEMPTS: usize = 100;
/// How often, and how long apart, a lock that is held is tried again: [`RunLock::is_held`] holds it for a moment.
const PATIENCE: (u32, Duration) = (3, Duration::from_millis(5));

/// Held while a process works on a run; given back when dropped, or by the system when the process ends
/// in whatever way.
#[derive(Debug)]
pub struct RunLock {
    /// Keeps the lock.
    _file: File,
    path: PathBuf,
}

impl RunLock {
    /// Takes the lock `<db>-<key>.lock` beside the store; `key` is the run's id, by which `amend runs` knows
    /// whether a process works on it. A file left behind by a process that was
    /// killed is taken over.
    pub fn acquire(db_path: &Path, key: &str) -> Result<Self, StoreError> {
        let path = lock_path(db_path, key);
        let fail = |source| cannot_lock(&path, source);
        let (mut patience, pause) = PATIENCE;
        for _ in 0..ATTEMPTS {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(fail)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(pause);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Locked {
                        key: key.to_owned(),
                        pid: holder(&mut file),
                        lock: path,
                    });
                }
                Err(TryLockError::Error(source)) => return Err(fail(source)),
            }
            // The holder before us removes the file when it is done. If that came between opening and
            // locking, this lock is on a file that nobody else will find.
            if is_at(&file, &path) {
                write_pid(&mut file).map_err(fail)?;
                return Ok(Self { _file: file, path });
            }
        }
        Err(fail(io::Error::other("it keeps vanishing")))
    }

    /// Whether a process holds the lock now.
    pub fn is_held(db_path: &Path, key: &str) -> bool {
        let Ok(file) = File::open(lock_path(db_path, key)) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Removed while it is still locked, so that no other process's lock file is removed. Where the
        // identity of files cannot be checked, an unlocked file stays behind and does no harm.
        if cfg!(unix) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Why the lock file cannot be made. A full disk has a remedy of its own.
fn cannot_lock(path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull(path),
        _ => StoreError::CannotLock { path, source },
    }
}

fn lock_path(db_path: &Path, key: &str) -> PathBuf {
    let key: String = key
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    // SQLite follows links, so the lock does too.
    let real = std::fs::canonicalize(db_path);
    let mut path = real.as_deref().unwrap_or(db_path).as_os_str().to_owned();
    path.push(format!("-{key}.lock"));
    path.into()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    file.flush()
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(" (pid {pid})"),
        _ => String::new(),
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// Whether a path leads to a named pipe.
#[cfg(unix)]
pub(super) fn is_pipe(meta: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&meta.file_type())
}

#[cfg(not(unix))]
pub(super) fn is_pipe(_meta: &std::fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_until_the_first_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("amend.db");
        assert!(!RunLock::is_held(&db, "run/1"));
        let lock = RunLock::acquire(&db, "run/1").unwrap();
        assert!(RunLock::is_held(&db, "run/1"));
        let error = RunLock::acquire(&db, "run/1").unwrap_err().to_string();
        assert!(
            error.contains(&format!("(pid {})", std::process::id())),
            "{error}"
        );
        assert!(error.contains("run/1"), "{error}");
        // Another run of the same store is free.
        drop(RunLock::acquire(&db, "run2").unwrap());
        drop(lock);
        assert!(!RunLock::is_held(&db, "run/1"));
        drop(RunLock::acquire(&db, "run/1").unwrap());
    }

    #[test]
    fn a_file_left_behind_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("amend.db");
        let path = lock_path(&db, "r");
        std::fs::write(
            &path,
            "4294967295\nand more than fits into a pid, left by a killed one",
        )
        .unwrap();
        let lock = RunLock::acquire(&db, "r").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
        drop(lock);
    }

    #[test]
    fn only_one_of_many_has_the_lock_at_a_time() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("amend.db");
        let (inside, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        match RunLock::acquire(&db, "r") {
                            Ok(lock) => {
                                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                                taken.fetch_add(1, Ordering::SeqCst);
                                inside.fetch_sub(1, Ordering::SeqCst);
                                drop(lock);
                            }
                            Err(StoreError::Locked { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
        });
        assert!(taken.load(Ordering::SeqCst) > 0);
    }

    #[test]
    fn a_lock_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = RunLock::acquire(&dir.path().join("no/folder/a.db"), "r").unwrap_err();
        assert!(matches!(error, StoreError::CannotLock { .. }), "{error}");
    }

    #[test]
    fn a_lock_without_room_is_told_as_a_full_disk() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = cannot_lock(Path::new("amend.db-r.lock"), kind.into()).to_string();
            assert!(error.contains("amend.db-r.lock"), "{error}");
            assert!(error.contains("free some disk space"), "{error}");
        }
    }
}
