//! What is said at the end of a run.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::backend::CONTEXT_REMEDY;
use crate::cli::Exit;
use crate::cli::backend::Loaded;
use crate::cli::progress::{Figures, duration};
use crate::cli::stdout;
use crate::cli::text::plural;
use crate::dataset::Counts;
use crate::engine::Summary;
use crate::store::{Filter, Store};

/// What is said at the end of a run.
pub(super) struct Report<'a> {
    pub id: &'a str,
    /// The store, in which the run is kept.
    pub db: &'a Path,
    pub summary: Summary,
    pub figures: Figures,
    pub elapsed: Duration,
    pub counts: Counts,
    pub loaded: &'a Loaded,
    pub resume: &'a str,
}

/// The command that continues a run, ready to be pasted into a shell.
pub(super) fn resume_command(id: &str, db: &Path, retry_failed: bool) -> String {
    let retry = if retry_failed { " --retry-errors" } else { "" };
    format!("amend resume {id} --db {}{retry}", in_shell(db))
}

/// A path as a shell takes it for one word.
fn in_shell(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = path
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    match plain {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

impl Report<'_> {
    /// What the program ends with.
    pub fn exit(&self) -> Exit {
        if self.summary.interrupted {
            Exit::Interrupted
        } else if self.summary.failed + self.summary.skipped_failed > 0 {
            Exit::SomeFailed
        } else {
            Exit::Done
        }
    }

    /// For a person.
    pub fn print(&self) -> io::Result<()> {
        let mut out = stdout::styled();
        let (s, f) = (&self.summary, &self.figures);
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        if s.interrupted {
            writeln!(
                out,
                "run {} interrupted; continue with: {}",
                self.id, self.resume
            )?;
        } else if s.ended == 0 && s.skipped > 0 {
            writeln!(
                out,
                "run {} was complete: {}",
                self.id,
                plural(s.skipped, "chain")
            )?;
        } else {
            writeln!(out, "run {} done", self.id)?;
        }
        if s.ended > 0 {
            writeln!(
                out,
                "  {} in {}: {} revised, {} failed{}",
                plural(s.ended, "chain"),
                duration(self.elapsed),
                f.revised,
                s.failed,
                if s.skipped > 0 {
                    format!("; {} were done before", s.skipped)
                } else {
                    String::new()
                },
            )?;
            writeln!(
                out,
                "  {}, {} tokens written ({:.1} tok/s), {:.1} chains/min, {} of {} prompt tokens from the cache",
                plural(f.steps, "step"),
                f.written,
                f.written as f64 / seconds,
                60.0 * s.ended as f64 / seconds,
                f.cached,
                f.prompt,
            )?;
            if f.reused > 0 {
                writeln!(out, "  {} model calls answered from the store", f.reused)?;
            }
            if let Some(stats) = self.loaded.stats().filter(|stats| stats.steps > 0) {
                writeln!(
                    out,
                    "  {:.1} % of wall time in decode ({} steps, {} tokens decoded)",
                    100.0 * stats.decode_seconds / seconds,
                    stats.steps,
                    stats.tokens,
                )?;
            }
        }
        if self.counts.skipped + self.counts.duplicates > 0 {
            writeln!(
                out,
                "  prompt file: {} skipped, {} left out",
                plural(self.counts.skipped, "row"),
                plural(self.counts.duplicates, "duplicate")
            )?;
        }
        if s.failed + s.skipped_failed > 0 && !s.interrupted {
            writeln!(
                out,
                "  {} failed; `amend ls status:failed --run {} --db {}` lists them; {}",
                plural(s.failed + s.skipped_failed, "chain"),
                self.id,
                in_shell(self.db),
                self.remedy()
            )?;
        }
        Ok(())
    }

    /// What to do about chains that failed.
    fn remedy(&self) -> String {
        if self.all_too_long() {
            return format!("the context is too small for them: {CONTEXT_REMEDY}");
        }
        let retry = match self.resume.ends_with("--retry-errors") {
            true => "",
            false => " --retry-errors",
        };
        format!("try again with: {}{retry}", self.resume)
    }

    /// Whether every failed chain of the run has a prompt that does not fit, so that trying again is of no
    /// use. Those that failed before count as well, so the store is asked; where it cannot be read, nothing is
    /// known of them.
    fn all_too_long(&self) -> bool {
        let (Ok(store), Ok(failed)) = (Store::open_read(self.db), Filter::parse("status:failed"))
        else {
            return false;
        };
        let found = store.for_each_chain(&failed, Some(self.id), |chain| {
            match chain.error.is_some_and(|e| e.ends_with(CONTEXT_REMEDY)) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        found.is_ok_and(|found| found.is_continue())
    }

    /// For a program: one line of JSON.
    pub fn json(&self) -> io::Result<()> {
        let (s, f) = (&self.summary, &self.figures);
        let stats = self.loaded.stats();
        let line = json!({
            "event": "summary",
            "run_id": self.id,
            "interrupted": s.interrupted,
            "resume": s.interrupted.then_some(self.resume),
            "chains": s.ended,
            "failed": s.failed,
            "skipped_done": s.skipped,
            "skipped_failed": s.skipped_failed,
            "revised": f.revised,
            "steps": f.steps,
            "completion_tokens": f.written,
            "prompt_tokens": f.prompt,
            "cached_tokens": f.cached,
            "reused_calls": f.reused,
            "seconds": self.elapsed.as_secs_f64(),
            "decode_seconds": stats.map(|s| s.decode_seconds),
            "decode_steps": stats.map(|s| s.steps),
            "rows_skipped": self.counts.skipped,
            "duplicates": self.counts.duplicates,
        });
        stdout::line(&line)
    }
}
