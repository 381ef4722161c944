//! What judgements came to.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::json;

use super::stored::Bench;
use crate::cli::progress::duration;
use crate::cli::stdout;
use crate::cli::text::{plural, sanitize};
use crate::judgement::{Judgement, Mode, PairKind};
use crate::quality::judge::Summary;
use crate::statistics::wilson;

/// From so many answers on, a judge is told to be none.
const ENOUGH: u64 = 10;
/// A judge that prefers one place in more than this share of its answers goes by the place.
const BIASED: f64 = 0.7;
/// And so does one whose orders agree less often than this.
const AGREEING: f64 = 0.6;

/// Counts over judgements.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub judged: u64,
    pub failed: u64,
    /// The later text is preferred.
    pub later: u64,
    /// The earlier text is preferred.
    pub earlier: u64,
    pub agree: u64,
    /// Answers, one for each principle and order.
    pub answers: u64,
    /// Those that prefer what was shown first, in halves: an answer that prefers neither is one half.
    first_halves: u64,
    /// Judgements that prefer neither text in either order.
    blank: u64,
    sum: f64,
}

impl Figures {
    pub fn add(&mut self, judgement: &Judgement) {
        self.judged += 1;
        self.later += u64::from(judgement.p > 0.5);
        self.earlier += u64::from(judgement.p < 0.5);
        self.agree += u64::from(judgement.preference.agrees());
        let preference = judgement.preference;
        self.blank += u64::from(preference.p_ab == 0.5 && preference.p_ba == 0.5);
        self.sum += judgement.p;
        for vote in &judgement.votes {
            self.answers += 2;
            let of_first = [1.0 - vote.preference.p_ab, vote.preference.p_ba];
            self.first_halves += of_first.map(hit).iter().sum::<u64>();
        }
    }

    fn share(&self, count: u64) -> Option<f64> {
        (self.judged > 0).then(|| count as f64 / self.judged as f64)
    }

    fn prefers_first(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.first_halves as f64 / 2.0 / self.answers as f64)
    }

    fn mean(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.sum / self.judged as f64)
    }

    fn doubt(&self) -> Option<String> {
        let decided = self.judged - self.blank;
        doubt(
            self.answers,
            self.prefers_first(),
            self.agree,
            decided,
            self.judged,
        )
    }
}

/// Why a judge's answers are worth little, where they are.
///
/// `agree` counts the comparisons whose orders agree, of the `decided` ones that prefer a text in some order.
pub(super) fn doubt(
    answers: u64,
    prefers_first: Option<f64>,
    agree: u64,
    decided: u64,
    compared: u64,
) -> Option<String> {
    if answers < ENOUGH {
        return None;
    }
    if decided == 0 && compared > 0 {
        return Some("this judge prefers neither text of any pair; it tells nothing".to_owned());
    }
    // Of fewer, agreement says nothing.
    let apart = 2 * decided >= ENOUGH && (agree as f64) < AGREEING * decided as f64;
    let by_place = !(1.0 - BIASED..=BIASED).contains(&prefers_first?) || apart;
    by_place.then(|| {
        "this judge goes by the place of a text more than by what it says; do not build on it"
            .to_owned()
    })
}

/// Everything that is said at the end.
pub(super) struct Outcome<'a> {
    pub figures: &'a Figures,
    pub summary: Summary,
    pub elapsed: Duration,
    /// Pairs that were judged before.
    pub before: u64,
    /// Pairs of equal texts.
    pub equal: u64,
    pub judges: &'a Bench,
    pub pairs: PairKind,
    pub mode: Mode,
}

impl Outcome<'_> {
    fn speed(&self) -> f64 {
        self.figures.judged as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub fn print(&self) -> io::Result<()> {
        let mut out = stdout::styled();
        let (figures, summary) = (self.figures, &self.summary);
        let stopped = if summary.interrupted {
            "interrupted: "
        } else {
            ""
        };
        let timed = match figures.judged {
            0 => String::new(),
            _ => format!(
                " in {} ({:.1} pairs/s)",
                duration(self.elapsed),
                self.speed()
            ),
        };
        writeln!(
            out,
            "{stopped}{} judged{timed}, {}, {}",
            plural(figures.judged, "pair"),
            self.pairs.as_str(),
            self.mode.as_str()
        )?;
        for line in self.judge_lines() {
            writeln!(out, "  {line}")?;
        }
        if let (Some(share), Some(mean)) = (figures.share(figures.later), figures.mean()) {
            let even = figures.judged - figures.later - figures.earlier;
            writeln!(
                out,
                "  the later text is preferred in {} ({:.0} %{}), the earlier one in {}, neither in {even}; mean P {mean:.3}",
                figures.later,
                100.0 * share,
                interval(figures.later, figures.judged),
                figures.earlier,
            )?;
        }
        if let (Some(agree), Some(first)) = (figures.share(figures.agree), figures.prefers_first())
        {
            writeln!(
                out,
                "  both orders agree in {} ({:.0} %); the text shown first is preferred in {:.0} % of {}",
                figures.agree,
                100.0 * agree,
                100.0 * first,
                plural(figures.answers, "answer")
            )?;
        }
        writeln!(
            out,
            "  {}, {} more answered from the store; {} of {} prompt tokens from the cache",
            plural(summary.calls, "model call"),
            summary.reused,
            summary.cached_tokens,
            summary.prompt_tokens
        )?;
        if self.before + self.equal > 0 {
            writeln!(
                out,
                "  left out: {} judged before, {} of equal texts",
                plural(self.before, "pair"),
                self.equal
            )?;
        }
        if figures.failed > 0 {
            writeln!(
                out,
                "  {} failed; the same command tries them again",
                figures.failed
            )?;
        }
        if summary.interrupted {
            writeln!(out, "  the same command continues")?;
        }
        if let Some(doubt) = figures.doubt() {
            writeln!(out, "  note: {doubt}")?;
        }
        Ok(())
    }

    fn judge_lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self
            .judges
            .seats
            .values()
            .map(|seat| {
                let constitution = &seat.record.constitution;
                let line = format!(
                    "by {} under {} {}, judge {}",
                    seat.record.model.name, constitution.name, constitution.version, seat.id
                );
                sanitize(&line).into_owned()
            })
            .collect();
        lines.sort();
        lines.dedup();
        lines
    }

    pub fn json(&self) -> io::Result<()> {
        let (figures, summary) = (self.figures, &self.summary);
        let mut judges: Vec<_> = self.judges.seats.values().map(|seat| &seat.id).collect();
        judges.sort();
        judges.dedup();
        let line = json!({
            "event": "summary",
            "judges": judges,
            "model": self.judges.seats.values().next().map(|seat| &seat.record.model.name),
            "pairs": self.pairs,
            "mode": self.mode,
            "interrupted": summary.interrupted,
            "judged": figures.judged,
            "failed": figures.failed,
            "judged_before": self.before,
            "equal_texts": self.equal,
            "later_preferred": figures.later,
            "earlier_preferred": figures.earlier,
            "mean_p": figures.mean(),
            "agree": figures.agree,
            "answers": figures.answers,
            "first_shown_preferred": figures.first_halves / 2,
            "calls": summary.calls,
            "reused_calls": summary.reused,
            "prompt_tokens": summary.prompt_tokens,
            "cached_tokens": summary.cached_tokens,
            "completion_tokens": summary.completion_tokens,
            "seconds": self.elapsed.as_secs_f64(),
            "note": figures.doubt(),
        });
        stdout::line(&line)
    }
}

/// 2 for an answer that prefers a text with this probability, 1 for one that prefers neither.
fn hit(p: f64) -> u64 {
    u64::from(p >= 0.5) + u64::from(p > 0.5)
}

/// A 95 % interval in percent, behind a comma.
fn interval(hits: u64, of: u64) -> String {
    wilson(hits, of).map_or_else(String::new, |interval| {
        let (low, high) = (100.0 * interval.low, 100.0 * interval.high);
        format!(", 95 % {low:.0}–{high:.0}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_that_never_prefers_is_not_taken_for_one_that_goes_by_the_place() {
        let ties = Figures {
            judged: 5,
            blank: 5,
            answers: 10,
            first_halves: 10,
            ..Figures::default()
        };
        assert!(ties.doubt().unwrap().contains("prefers neither"));
        let few = Figures { answers: 8, ..ties };
        assert_eq!(few.doubt(), None);
        let sound = Figures {
            judged: 10,
            agree: 5,
            answers: 20,
            first_halves: 20,
            ..ties
        };
        assert_eq!(sound.doubt(), None);
        let once = Figures {
            judged: 20,
            blank: 19,
            agree: 0,
            answers: 40,
            first_halves: 40,
            ..ties
        };
        assert_eq!(once.doubt(), None);
        let placed = Figures {
            first_halves: 36,
            ..sound
        };
        assert!(placed.doubt().unwrap().contains("goes by the place"));
    }
}
