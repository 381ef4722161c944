//! A download as a person sees it.

use crate::cli::exit::say;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::plain;
use crate::backend::llama::model_ref::Progress;

/// Between two lines where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows a download on stderr: a bar on a terminal, now and then a line elsewhere.
#[derive(Default)]
pub(super) struct Display {
    bar: Option<ProgressBar>,
    name: String,
    total: Option<u64>,
    last_line: Option<Instant>,
}

impl Display {
    /// Shows one event.
    pub(super) fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Started { name, total, done } => self.start(name, total, done),
            Progress::Advanced { done } => self.advance(done),
            Progress::Retrying { reason, wait } => self.line(&format!(
                "{reason}; trying again in {:.1} s",
                wait.as_secs_f64()
            )),
            Progress::Finished { .. } => self.clear(),
            Progress::Notice(text) => self.line(&text),
        }
    }

    fn start(&mut self, name: String, total: Option<u64>, done: u64) {
        self.clear();
        self.name = plain(&name);
        self.total = total;
        if !io::stderr().is_terminal() {
            let size = total.map_or_else(String::new, |t| format!(" ({})", HumanBytes(t)));
            let from = match done {
                0 => String::new(),
                done => format!(", continuing at {}", HumanBytes(done)),
            };
            self.last_line = Some(Instant::now());
            self.line(&format!("fetching {}{size}{from}", self.name));
            return;
        }
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = match total {
            Some(_) => "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(self.name.clone());
        bar.set_position(done);
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        if self.last_line.is_some_and(|at| at.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            let of = self
                .total
                .map_or_else(String::new, |total| format!(" of {}", HumanBytes(total)));
            self.line(&format!("{}: {}{of}", self.name, HumanBytes(done)));
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
