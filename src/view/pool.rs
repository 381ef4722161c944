//! Open stores for requests that come at the same time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use super::error::ApiError;
use crate::store::{Filter, Overview, Store, StoreError};

/// Reads at the same time: a slow search should not hold up the chain that is opened meanwhile.
const READERS: usize = 4;

/// How long a viewer waits before its first page for what all pages need; enough for some 100,000 chains.
const WARM_UP: Duration = Duration::from_millis(500);

/// Opens stores as they are needed, and keeps them.
#[derive(Clone)]
pub struct Pool {
    path: PathBuf,
    opened: Arc<Mutex<Opened>>,
    places: Arc<Semaphore>,
}

/// Device and inode: another file under the same name is told by them. `None` where the system has none.
pub type FileId = Option<(u64, u64)>;

/// What is kept of a file.
#[derive(Default)]
struct Opened {
    file: FileId,
    overview: Arc<Overview>,
    idle: Vec<Store>,
}

impl Pool {
    /// A pool with one store, which shows that it can be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let pool = Self {
            opened: Arc::default(),
            path: path.to_owned(),
            places: Arc::new(Semaphore::new(READERS)),
        };
        let (first, file) = pool.take()?;
        pool.keep(first, file);
        Ok(pool)
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A store, and the file that it is of.
    fn take(&self) -> Result<(Store, FileId), StoreError> {
        let file = file_id(&self.path);
        let overview = {
            let mut opened = self.opened();
            if opened.file != file {
                // What was read of another file says nothing about this one.
                *opened = Opened {
                    file,
                    ..Opened::default()
                };
            }
            if let Some(store) = opened.idle.pop() {
                return Ok((store, file));
            }
            Arc::clone(&opened.overview)
        };
        Ok((Store::open_sharing(&self.path, overview)?, file))
    }

    /// Keeps a store for the next one who reads.
    fn keep(&self, store: Store, file: FileId) {
        let mut opened = self.opened();
        if opened.file == file {
            opened.idle.push(store);
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads with a store of its own, which sees what other connections write, and is told which file that is of.
    pub async fn watch<T: Send + 'static>(
        &self,
        watched: Arc<Mutex<Option<(Store, FileId)>>>,
        read: impl FnOnce(&Store, FileId) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let path = self.path.clone();
        blocking(move || {
            let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            let file = file_id(&path);
            // One of another file is closed before this one is opened.
            let store = match watched.take().filter(|(_, of)| *of == file) {
                Some((store, _)) => store,
                None => Store::open_read(&path)?,
            };
            let (store, file) = watched.insert((store, file));
            Ok(read(store, *file)?)
        })
        .await
    }

    /// Reads on a thread that may wait. What is read belongs together: it is of one moment, whatever is written
    /// meanwhile.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.places.clone().acquire_owned().await;
        let pool = self.clone();
        blocking(move || {
            // Held until the reading is over, also where nobody waits for it any more.
            let _place = place;
            pool.read_here(read)
        })
        .await
    }

    fn read_here<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let (store, file) = self.take()?;
        let value = store.at_one_moment(|| read(&store));
        self.keep(store, file);
        value?
    }

    /// Begins to read what lists and charts need of every chain, and waits for it, but not for long: it goes on by
    /// itself, and whoever asks meanwhile waits for the rest.
    pub fn warm_up(&self) {
        let pool = self.clone();
        let (done, ended) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            // Where it fails, the first page is told why.
            let _ = pool.read_here(|store| Ok(store.facets(&Filter::all(), None)?));
            drop(done);
        });
        // Nothing is sent: that the other end is gone says that it is done.
        let _ = ended.recv_timeout(WARM_UP);
    }
}

/// Does something that may wait for the disk, away from the threads that serve.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            let message = format!("this request failed inside the program: {error}");
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message))
        })
}

#[cfg(unix)]
fn file_id(path: &Path) -> FileId {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn file_id(_path: &Path) -> FileId {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Writer;
    use crate::store::testing::new_run;

    #[test]
    fn an_answer_is_of_one_moment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("amend.db");
        let mut writer = Writer::open(&path).unwrap();
        let pool = Pool::open(&path).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let answer = pool.read(move |store| {
            let before = store.runs()?;
            writer.begin_run(&new_run("run1"))?;
            Ok((before, store.runs()?))
        });
        let (before, after) = runtime.block_on(answer).unwrap();
        assert_eq!((before.len(), after.len()), (0, 0));
        // The moment ends with the answer.
        let later = runtime.block_on(pool.read(|store| Ok(store.runs()?)));
        assert_eq!(later.unwrap().len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn another_file_under_the_same_name_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("amend.db"), dir.path().join("other.db"));
        for path in [&path, &other] {
            drop(Writer::open(path).unwrap());
        }
        let pool = Pool::open(&path).unwrap();
        let overview = || Arc::clone(&pool.opened().overview);
        let first = overview();
        let (store, file) = pool.take().unwrap();
        pool.keep(store, file);
        assert!(Arc::ptr_eq(&first, &overview()));
        for end in ["-wal", "-shm"] {
            // Not always there.
            let _ = std::fs::remove_file(dir.path().join(format!("amend.db{end}")));
        }
        std::fs::rename(&other, &path).unwrap();
        let (store, new) = pool.take().unwrap();
        assert!(new != file && !Arc::ptr_eq(&first, &overview()));
        // One that was out with the other file is not kept.
        pool.keep(store, file);
        assert!(pool.opened().idle.is_empty());
    }
}
