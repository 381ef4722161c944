//! What a person sees while a run goes on: a bar on a terminal, a line every ten seconds elsewhere, and
//! JSON lines on request.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::chain::StopReason;
use crate::engine::event::Event;

use super::exit::say;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Between two redraws of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Figures of a run, counting what this process does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Chains that had ended before.
    pub skipped: u64,
    /// Chains that ended.
    pub ended: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many of them were revised.
    pub revised: u64,
    /// Steps finished.
    pub steps: u64,
    /// Tokens that the model wrote.
    pub written: u64,
    /// Tokens of requests.
    pub prompt: u64,
    /// How many of them were in the KV cache.
    pub cached: u64,
    /// Model calls answered from the store.
    pub reused: u64,
}

impl Figures {
    fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::ChainBegun(_) => {}
            Event::ChainSkipped { .. } => self.skipped += 1,
            Event::StepFinished { step, .. } => {
                self.steps += 1;
                for call in &step.calls {
                    let usage = &call.generation.usage;
                    if call.reused {
                        self.reused += 1;
                    } else {
                        self.written += u64::from(usage.completion_tokens);
                        self.prompt += u64::from(usage.prompt_tokens);
                        self.cached += u64::from(usage.cached_tokens);
                    }
                }
            }
            Event::ChainEnded { end, .. } => {
                self.ended += 1;
                self.failed += u64::from(end.stop == StopReason::Failed);
                self.revised += u64::from(end.revised);
            }
        }
    }
}

/// Shows progress until it is dropped.
pub struct Progress {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
    json: bool,
}

struct Shared {
    figures: Mutex<Figures>,
    /// Chains of the whole run; 0 while unknown.
    total: AtomicU64,
    begun: Instant,
    bar: Option<ProgressBar>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Progress {
    /// Starts the display. With `json`, events become lines for stdout.
    pub fn start(json: bool) -> io::Result<Self> {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("{bar:30} {pos}/{len} chains  {msg}")
                    // The template is a constant that a test renders.
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        let shared = Arc::new(Shared {
            figures: Mutex::default(),
            total: AtomicU64::new(0),
            begun: Instant::now(),
            bar,
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let ticker = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || theirs.tick())?;
        Ok(Self {
            shared,
            ticker: Some(ticker),
            json,
        })
    }

    /// Says how many chains there are in all, once that is known.
    pub fn total(&self) -> impl Fn(u64) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |total| shared.total.store(total, Ordering::Relaxed)
    }

    /// Takes an event. Gives the line to write, where lines are wanted.
    pub fn take(&self, event: &Event<'_>) -> Option<Value> {
        lock(&self.shared.figures).take(event);
        self.json.then(|| line(event)).flatten()
    }

    /// The figures so far, and the time that has passed.
    pub fn figures(&self) -> (Figures, Duration) {
        (*lock(&self.shared.figures), self.shared.begun.elapsed())
    }

    /// Prints a line to stderr without disturbing the bar.
    pub fn say(&self, line: &str) {
        match &self.shared.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *lock(&self.shared.stop) = true;
        self.shared.stopped.notify_all();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
        if let Some(bar) = &self.shared.bar {
            bar.finish_and_clear();
        }
    }
}

/// A poisoned lock only means that another thread panicked; figures stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn tick(&self) {
        let every = if self.bar.is_some() {
            DRAW_EVERY
        } else {
            LINE_EVERY
        };
        let mut stop = lock(&self.stop);
        while !*stop {
            let (guard, waited) = self
                .stopped
                .wait_timeout(stop, every)
                .unwrap_or_else(PoisonError::into_inner);
            stop = guard;
            if waited.timed_out() && !*stop {
                self.draw();
            }
        }
    }

    fn draw(&self) {
        let figures = *lock(&self.figures);
        let total = self.total.load(Ordering::Relaxed);
        let message = message(&figures, total, self.begun.elapsed());
        let done = figures.ended + figures.skipped;
        match &self.bar {
            Some(bar) => {
                if total > 0 {
                    bar.set_length(total);
                }
                bar.set_position(done);
                bar.set_message(message);
            }
            None => {
                let of = if total > 0 {
                    format!("/{total}")
                } else {
                    String::new()
                };
                say(&format!("{done}{of} chains  {message}"));
            }
        }
    }
}

/// Speed, share revised, and the time left.
fn message(figures: &Figures, total: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let mut parts = vec![format!("{:.1} tok/s", figures.written as f64 / seconds)];
    if figures.ended > 0 {
        let share = 100.0 * figures.revised as f64 / figures.ended as f64;
        parts.push(format!("{share:.0} % revised"));
    }
    if figures.failed > 0 {
        parts.push(format!("{} failed", figures.failed));
    }
    let left = total.saturating_sub(figures.ended + figures.skipped);
    if figures.ended > 0 && left > 0 {
        let eta = seconds / figures.ended as f64 * left as f64;
        parts.push(format!("{} left", duration(Duration::from_secs_f64(eta))));
    }
    parts.join("  ")
}

/// A duration as a person says it, such as `2 min 5 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// What a program is told of an event.
fn line(event: &Event<'_>) -> Option<Value> {
    match event {
        Event::ChainBegun(_) | Event::ChainSkipped { .. } => None,
        Event::StepFinished { chain, step } => Some(json!({
            "event": "step",
            "chain_id": chain.id,
            "prompt_id": chain.prompt.id,
            "sample": chain.sample,
            "ordinal": step.ordinal,
            "round": step.round,
            "kind": step.kind,
            "principle_id": step.principle,
            "violated": step.verdict.as_ref().map(|v| v.violated),
            "probability": step.verdict.as_ref().and_then(|v| v.probability),
            "flags": step.flags,
            "adopted": step.adopted,
        })),
        Event::ChainEnded { chain, end } => Some(json!({
            "event": "chain",
            "chain_id": chain.id,
            "prompt_id": chain.prompt.id,
            "sample": chain.sample,
            "stop_reason": end.stop,
            "rounds": end.rounds,
            "revised": end.revised,
            "regressions": end.regressions,
            "error": end.error,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_two_units() {
        let say = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(say(5), "5.0 s");
        assert_eq!(say(59), "59 s");
        assert_eq!(say(125), "2 min 5 s");
        assert_eq!(say(7322), "2 h 2 min");
    }

    #[test]
    fn the_message_estimates_what_is_left() {
        let figures = Figures {
            ended: 4,
            revised: 1,
            written: 100,
            ..Figures::default()
        };
        let text = message(&figures, 8, Duration::from_secs(20));
        assert_eq!(text, "5.0 tok/s  25 % revised  20 s left");
    }
}
