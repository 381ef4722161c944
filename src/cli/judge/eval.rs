//! `amend judge --eval`: how good the judge is, on comparisons whose answers are known.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use serde_json::json;

use super::figures::doubt;
use super::{Args, DEFAULT_CONSTITUTION, Ticker};
use crate::backend::ModelIdentity;
use crate::cli::args::parse_limit;
use crate::cli::exit::{say, usage};
use crate::cli::progress::duration;
use crate::cli::stdout::Printed;
use crate::cli::text::{Table, plural, sanitize, terminal_width};
use crate::cli::{Exit, runs, signals, stdout};
use crate::constitution;
use crate::dataset::{self, Compared, LabelledReader};
use crate::judgement::Mode;
use crate::quality::judge::accuracy::{Accuracy, Share, Tally};
use crate::quality::judge::labelled::{Labelled, Posed};
use crate::quality::judge::{Ask, Judge, Options, Summary, answer_all, reliability_svg};
use crate::store::Writer;

/// Rows that cannot be used are named one by one up to here, and counted beyond.
const NAMED: u64 = 50;

/// Runs the command.
pub(super) fn run(args: &Args, file: &Path) -> anyhow::Result<Exit> {
    let pack = args.pack()?;
    let constitution = match args.named_constitution()? {
        Some(constitution) => constitution,
        None => {
            let loaded = constitution::load(DEFAULT_CONSTITUTION).map_err(usage)?;
            loaded.resolved.constitution
        }
    };
    let judge = args.judge(constitution, &pack)?;
    let count = count(args, file)?;
    if let Some(svg) = &args.svg {
        let folder = svg.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) || svg.is_dir() {
            bail!(usage(anyhow!(
                "--svg {}: there is no such folder, or it is one; name a file in a folder that exists",
                svg.display()
            )));
        }
    }
    let db = args.chains.db();
    Writer::check(db).map_err(runs::failed)?;
    let loaded = args.load(&judge, count)?;
    let mut writer = Writer::open(db).map_err(runs::failed)?;
    let interrupted = signals::interruption(
        "taking the answers in flight; press Ctrl-C again to leave at once",
        "left at once; the same command continues",
    )?;
    let options = Options {
        parallel: loaded.backend().parallelism(),
        interrupted: &interrupted,
    };
    let mut run = Run {
        args,
        judge: &judge,
        tally: Tally::default(),
        failed: 0,
        ticker: Ticker::new(count, "comparisons"),
        printed: Printed::default(),
    };
    let mut asks = Asks::open(args, &judge, file, true)?;
    let summary = answer_all(
        loaded.backend(),
        &mut writer,
        &mut asks,
        options,
        &mut |about: (u64, Labelled), answers, _| {
            run.done(&about, answers);
            Ok::<_, anyhow::Error>(())
        },
    )
    .map_err(|error| anyhow!("{error:#}; what was answered is kept, the same command continues"))?;
    let skipped = asks.skipped;
    if asks.posed > 0 && judge.mode == Mode::Cot {
        run.ticker.say(&format!(
            "note: the letter was asked for at once, also with --mode cot, in {} that the file poses itself",
            plural(asks.posed, "question")
        ));
    }
    run.finish(summary, skipped, loaded.backend().identity())
}

/// How many comparisons there are. A file without one is an error of input.
fn count(args: &Args, file: &Path) -> anyhow::Result<u64> {
    let (mut rows, mut first) = (0, None);
    let range = range(args);
    for row in dataset::open_labelled(file).map_err(usage)? {
        match row.map_err(usage)? {
            Ok(_) => rows += 1,
            Err(skipped) => drop(first.get_or_insert(skipped)),
        }
        if rows >= range.end {
            break;
        }
    }
    match (rows > range.start, first) {
        (true, _) => Ok(rows - range.start),
        (false, Some(first)) if rows == 0 => {
            bail!(usage(anyhow!(
                "{}: no row can be used; the first: {first}",
                file.display()
            )))
        }
        (false, _) if rows == 0 => {
            bail!(usage(anyhow!(
                "{}: there are no rows; put one comparison on each line",
                file.display()
            )))
        }
        _ => bail!(usage(anyhow!(
            "--limit leaves nothing: {} has {}",
            file.display(),
            plural(rows, "usable row")
        ))),
    }
}

fn range(args: &Args) -> std::ops::Range<u64> {
    let parsed = args.limit.as_deref().and_then(|l| parse_limit(l).ok());
    parsed.unwrap_or(0..u64::MAX)
}

/// The comparisons of a file as asks.
struct Asks<'a> {
    judge: &'a Arc<Judge>,
    rows: LabelledReader,
    range: std::ops::Range<u64>,
    index: u64,
    skipped: u64,
    /// Questions that the file poses itself.
    posed: u64,
    name: bool,
}

impl<'a> Asks<'a> {
    fn open(args: &Args, judge: &'a Arc<Judge>, file: &Path, name: bool) -> anyhow::Result<Self> {
        Ok(Self {
            judge,
            rows: dataset::open_labelled(file).map_err(usage)?,
            range: range(args),
            index: 0,
            skipped: 0,
            posed: 0,
            name,
        })
    }

    fn ask(&mut self, line: u64, compared: Compared) -> anyhow::Result<Ask<(u64, Labelled)>> {
        let labelled = match compared {
            Compared::Responses {
                conversation,
                chosen,
                rejected,
            } => Labelled::responses(self.judge, line, (conversation, chosen, rejected))
                .map_err(|error| usage(anyhow!("line {line}: {error}")))?,
            Compared::Question(posed) => {
                self.posed += 1;
                Labelled::posed(
                    self.judge,
                    Posed {
                        conversation: posed.conversation,
                        answers: posed.answers,
                        right: posed.right,
                        exchanged: posed.exchanged,
                    },
                )
            }
        };
        let questions = labelled.questions();
        Ok(Ask {
            about: (line, labelled),
            questions,
        })
    }
}

impl Iterator for Asks<'_> {
    type Item = anyhow::Result<Ask<(u64, Labelled)>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.index < self.range.end {
            match self.rows.next()? {
                Err(error) => return Some(Err(usage(error))),
                Ok(Err(skipped)) => {
                    self.skipped += 1;
                    match self.skipped {
                        n if n <= NAMED && self.name => say(&format!("skipped: {skipped}")),
                        n if n == NAMED + 1 && self.name => {
                            say("skipped: more rows, which are only counted from here on");
                        }
                        _ => {}
                    }
                }
                Ok(Ok(row)) => {
                    self.index += 1;
                    if self.index > self.range.start {
                        return Some(self.ask(row.line, row.compared));
                    }
                }
            }
        }
        None
    }
}

/// What is gathered while answers come.
struct Run<'a> {
    args: &'a Args,
    judge: &'a Judge,
    tally: Tally,
    failed: u64,
    ticker: Ticker,
    printed: Printed,
}

impl Run<'_> {
    fn done(
        &mut self,
        (line, labelled): &(u64, Labelled),
        answers: Result<Vec<crate::quality::judge::Answer>, String>,
    ) {
        match answers.and_then(|answers| labelled.score(self.judge, answers)) {
            Ok(scored) => {
                self.tally.add(&scored);
                if self.args.json {
                    let told = json!({ "event": "comparison", "line": line, "scored": scored });
                    self.printed.note(|| stdout::line(&told));
                }
            }
            Err(error) => {
                self.failed += 1;
                match self.failed {
                    n if n <= NAMED => self
                        .ticker
                        .say(&format!("not judged: line {line}: {error}")),
                    n if n == NAMED + 1 => self
                        .ticker
                        .say("not judged: more, which are only counted from here on"),
                    _ => {}
                }
            }
        }
        self.ticker
            .tick(self.tally.len() + self.failed, self.tally.len());
    }

    fn finish(
        mut self,
        summary: Summary,
        skipped: u64,
        model: &ModelIdentity,
    ) -> anyhow::Result<Exit> {
        let elapsed = self.ticker.finish();
        let accuracy = self.tally.figures();
        let answers = accuracy.prefers_first.of;
        // Where no order could be exchanged, agreement says nothing.
        let (agree, compared) = (accuracy.agree.hits, accuracy.agree.of);
        let decided = compared - self.tally.preferring_neither();
        let first = accuracy.prefers_first.share;
        let note = doubt(answers, first, agree, decided, compared);
        if let Some(svg) = &self.args.svg {
            fs::write(svg, reliability_svg(&accuracy, &model.name))
                .with_context(|| format!("--svg {}: cannot be written", svg.display()))?;
        }
        self.printed.note(|| match self.args.json {
            true => {
                let line = json!({
                    "event": "summary",
                    "model": model.name,
                    "model_digest": model.digest,
                    "constitution": self.judge.constitution.name,
                    "mode": self.judge.mode,
                    "interrupted": summary.interrupted,
                    "failed": self.failed,
                    "rows_skipped": skipped,
                    "accuracy": accuracy,
                    "calls": summary.calls,
                    "reused_calls": summary.reused,
                    "seconds": elapsed.as_secs_f64(),
                    "note": note,
                });
                stdout::line(&line)
            }
            false => {
                let head = format!(
                    "{}{} by {} in {} ({:.1}/s), {}",
                    if summary.interrupted {
                        "interrupted: "
                    } else {
                        ""
                    },
                    plural(accuracy.comparisons, "comparison"),
                    sanitize(&model.name),
                    duration(elapsed),
                    accuracy.comparisons as f64 / elapsed.as_secs_f64().max(1e-9),
                    self.judge.mode.as_str(),
                );
                page(&head, &accuracy, (self.failed, skipped), note.as_deref())
            }
        });
        self.printed.finish().context("what was answered is kept")?;
        Ok(match summary.interrupted {
            true => Exit::Interrupted,
            false if self.failed > 0 => Exit::SomeFailed,
            false => Exit::Done,
        })
    }
}

fn page(
    head: &str,
    accuracy: &Accuracy,
    (failed, skipped): (u64, u64),
    note: Option<&str>,
) -> io::Result<()> {
    let mut out = stdout::styled();
    writeln!(out, "{head}")?;
    let mut line = |name: &str, text: String| writeln!(out, "  {name:<21} {text}");
    let a = accuracy;
    line(
        "accuracy",
        format!("{}, by the mean of both orders", share(&a.accuracy)),
    )?;
    line("right answer first", share(&a.right_first))?;
    line("right answer second", share(&a.right_second))?;
    if a.agree.of > 0 {
        let there = a.accuracy_where_agreed;
        line(
            "orders agree",
            format!("{}; accuracy there {}", share(&a.agree), share(&there)),
        )?;
    }
    line(
        "first one preferred",
        format!(
            "{} of {} answers",
            share(&a.prefers_first),
            a.prefers_first.of
        ),
    )?;
    if a.longer_is_right.of > 0 {
        line(
            "length",
            format!(
                "longer preferred {}, longer right {}",
                share(&a.prefers_longer),
                share(&a.longer_is_right)
            ),
        )?;
        line(
            "",
            format!(
                "accuracy {} where the right one is longer, {} where it is shorter",
                share(&a.accuracy_longer),
                share(&a.accuracy_shorter)
            ),
        )?;
    }
    if let (Some(brier), Some(ece)) = (a.brier, a.ece) {
        line(
            "calibration",
            format!("Brier {brier:.3} (0.250 for 0.5 throughout), ECE {ece:.3}"),
        )?;
    }
    if a.one_order > 0 {
        line("in one order only", a.one_order.to_string())?;
    }
    if failed + skipped > 0 {
        line(
            "left out",
            format!("{failed} failed, {}", plural(skipped, "row") + " skipped"),
        )?;
    }
    if let Some(note) = note {
        line("note", note.to_owned())?;
    }
    if a.comparisons > 0 {
        writeln!(out)?;
        for line in bins(a).lines(terminal_width()) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn bins(accuracy: &Accuracy) -> Table {
    let mut table = Table::new(&[">CONFIDENCE", ">COMPARISONS", ">MEAN", ">RIGHT"]);
    for bin in accuracy.bins.iter().filter(|bin| bin.count > 0) {
        table.row(vec![
            format!("{:.2}–{:.2}", bin.from, bin.from + 0.05),
            bin.count.to_string(),
            format!("{:.3}", bin.confidence),
            format!("{:.3}", bin.accuracy),
        ]);
    }
    table
}

/// A share with its interval.
fn share(share: &Share) -> String {
    match (share.share, share.interval) {
        (Some(p), Some(i)) => format!("{p:.3} ({:.3}–{:.3})", i.low, i.high),
        _ => "-".to_owned(),
    }
}
