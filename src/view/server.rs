//! The server: one socket on the loopback address.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use serde_json::Value;
use tokio::sync::watch;

use super::api::{self, App};
use super::guard::{Guard, guard};
use super::live::{self, Pulse};
use super::pool::Pool;
use crate::store::{ChainRow, RunDetail, Store, StoreError};

/// How long requests that are being answered may take when the server ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most bytes of a request: an edited text, with every character escaped.
const BODY_BYTES: usize = 32 * 1024 * 1024;

/// The command that makes a chain again; empty where there is none.
pub type Reproduce = dyn Fn(&Store, &RunDetail, &ChainRow) -> String + Send + Sync;

/// The settings in which two configurations differ: name, first, second.
pub type Settings = dyn Fn(&Value, &Value) -> Vec<(String, String, String)> + Send + Sync;

/// What is served, and how.
pub struct Options {
    /// The store.
    pub db: PathBuf,
    /// The port; 0 for any that is free.
    pub port: u16,
    /// Whether labels can be written.
    pub read_only: bool,
    /// Who labels.
    pub who: String,
    /// The command that makes a chain again.
    pub reproduce: Box<Reproduce>,
    /// The settings in which two runs differ.
    pub settings: Box<Settings>,
}

/// Why a viewer could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The port is taken, or may not be used.
    #[error(
        "cannot listen on 127.0.0.1:{port}: {source}; choose another --port, or 0 for any that is free"
    )]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// There are no random bytes for the token.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// Serving failed.
    #[error("the viewer cannot serve: {0}")]
    Serve(#[from] std::io::Error),
}

/// A viewer that listens and does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    guard: Arc<Guard>,
    app: Arc<App>,
}

impl Server {
    /// Opens the store and the socket, and reads what pages need before the first one asks for it.
    pub fn bind(options: Options) -> Result<Self, ViewError> {
        let pool = Pool::open(&options.db)?;
        let port = options.port;
        let listen = |source| ViewError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let guard = Guard::new(address.port(), options.read_only).map_err(ViewError::Random)?;
        pool.warm_up();
        Ok(Self {
            listener,
            address,
            guard: Arc::new(guard),
            app: Arc::new(App::new(pool, options)),
        })
    }

    /// The address of the pages, with the token.
    pub fn url(&self) -> String {
        format!("http://{}/?token={}", self.address, self.guard.token())
    }

    /// Answers requests until `stop` is done.
    pub fn run(self, stop: impl Future<Output = ()>) -> Result<(), ViewError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(self.listener)?;
            let (tell, told) = watch::channel(Pulse::default());
            tokio::spawn(live::watch(self.app.pool.clone(), tell));
            let router = router(self.app, self.guard, told);
            let serve = tokio::spawn(async move { axum::serve(listener, router).await });
            let ends = serve.abort_handle();
            tokio::pin!(stop);
            tokio::select! {
                done = serve => done.unwrap_or(Ok(())),
                () = stop => { ends.abort(); Ok(()) }
            }
        });
        // What is being written is written; streams of events have no end of their own.
        runtime.shutdown_timeout(PATIENCE);
        Ok(served?)
    }
}

/// Every page and every answer, behind the guard.
pub fn router(app: Arc<App>, guarded: Arc<Guard>, told: watch::Receiver<Pulse>) -> Router {
    api::routes(app, told)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(guarded, guard))
}
