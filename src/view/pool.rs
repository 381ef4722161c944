//! Open stores for requests that come at the same time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use super::error::ApiError;
use crate::store::{Overview, Store, StoreError};

/// Reads at the same time: a slow search should not hold up the chain that is opened meanwhile.
const READERS: usize = 4;

/// Opens stores as they are needed, and keeps them.
#[derive(Clone)]
pub struct Pool {
    path: PathBuf,
    overview: Arc<Overview>,
    idle: Arc<Mutex<Vec<Store>>>,
    places: Arc<Semaphore>,
}

impl Pool {
    /// A pool with one store, which shows that it can be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let overview = Arc::default();
        let first = Store::open_sharing(path, Arc::clone(&overview))?;
        Ok(Self {
            idle: Arc::new(Mutex::new(vec![first])),
            overview,
            path: path.to_owned(),
            places: Arc::new(Semaphore::new(READERS)),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads with a store of its own, which sees what other connections write.
    pub async fn watch<T: Send + 'static>(
        &self,
        watched: Arc<Mutex<Option<Store>>>,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let path = self.path.clone();
        blocking(move || {
            let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            let store = match watched.take() {
                Some(store) => store,
                None => Store::open_read(&path)?,
            };
            Ok(read(watched.insert(store))?)
        })
        .await
    }

    /// Reads on a thread that may wait.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.places.clone().acquire_owned().await;
        let pool = self.clone();
        blocking(move || {
            // Held until the reading is over, also where nobody waits for it any more.
            let _place = place;
            let idle = || pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = idle().pop();
            let open = || Store::open_sharing(&pool.path, Arc::clone(&pool.overview));
            let store = kept.map_or_else(open, Ok)?;
            let value = read(&store);
            idle().push(store);
            value
        })
        .await
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
