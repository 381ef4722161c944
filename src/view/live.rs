//! What changes while somebody looks: one task asks the store whether it was written to, and tells all pages.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::sse::{Event, KeepAlive, Sse};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::pool::Pool;
use crate::store::{RunLock, RunRow, RunState, Store, StoreError};

/// How often the store is asked. The question reads one number in memory that SQLite shares.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// The least time between two events: pages read again after each.
const TELL_EVERY: Duration = Duration::from_millis(1000);
/// A connection without events is told apart from a dead one this often.
const BREATH: Duration = Duration::from_secs(15);

/// What pages are told.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pulse {
    /// Counts the changes that were seen.
    pub version: u64,
    /// Every run as it stands, oldest first.
    pub runs: Vec<LiveRun>,
}

/// A run in short, with what only this moment knows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveRun {
    /// The run.
    #[serde(flatten)]
    pub row: RunRow,
    /// Whether a process works on it now.
    pub active: bool,
}

/// Every run as it stands.
pub fn runs(store: &Store, db: &Path) -> Result<Vec<LiveRun>, StoreError> {
    let live = |row: RunRow| LiveRun {
        active: row.state == RunState::Running && RunLock::is_held(db, &row.run_id),
        row,
    };
    Ok(store.runs()?.into_iter().map(live).collect())
}

/// Watches the store until nobody can listen any more.
pub async fn watch(pool: Pool, tell: watch::Sender<Pulse>) {
    // `data_version` compares with what the same connection saw before.
    let watched = Arc::default();
    let mut seen = None;
    let mut beat = tokio::time::interval(ASK_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !tell.is_closed() {
        beat.tick().await;
        // Nobody looks: nobody is told, and the next one who comes reads for himself.
        if tell.receiver_count() < 2 {
            continue;
        }
        let path = pool.path().to_owned();
        let last = seen;
        // A run that is killed writes nothing more; only its lock says so.
        let active = active(&tell.borrow());
        let begun = Instant::now();
        let read = pool.watch(Arc::clone(&watched), move |store, file| {
            // Another file counts for itself.
            let now = (file, store.data_version()?);
            let written = last != Some(now);
            let ended = active.iter().any(|run| !RunLock::is_held(&path, run));
            let runs = (written || ended).then(|| runs(store, &path)).transpose()?;
            Ok((now, written, runs))
        });
        // A store that cannot be read for a moment is asked again.
        let Ok((now, written, runs)) = read.await else {
            continue;
        };
        let first = seen.replace(now).is_none();
        let Some(runs) = runs else { continue };
        tell.send_if_modified(|pulse| {
            let changed = (written && !first) || pulse.runs != runs;
            pulse.version += u64::from(changed);
            pulse.runs = runs;
            changed
        });
        // Where counting takes long, it is done less often, for the sake of the run that goes on.
        tokio::time::sleep(TELL_EVERY.max(begun.elapsed() * 9)).await;
    }
}

/// Runs that a process worked on when pages were last told.
fn active(pulse: &Pulse) -> Vec<String> {
    let runs = pulse.runs.iter().filter(|run| run.active);
    runs.map(|run| run.row.run_id.clone()).collect()
}

/// The stream of events of one page.
pub fn events(
    mut changes: watch::Receiver<Pulse>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (send, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let pulse = changes.borrow_and_update().clone();
            // Before the first change the page knows more than is known here.
            if pulse.version > 0 {
                // Plain data, which has a form in JSON.
                let event = Event::default().event("pulse").json_data(&pulse);
                let Ok(event) = event else { return };
                if send.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = send.closed() => return,
            }
        }
    });
    Sse::new(ReceiverStream::new(stream)).keep_alive(KeepAlive::new().interval(BREATH))
}
