//! Judging the chains of a store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use super::figures::{Figures, Outcome};
use super::{Args, Ticker, forecast};
use crate::chain::ChainId;
use crate::cli::backend::Loaded;
use crate::cli::chains::Chosen;
use crate::cli::exit::usage;
use crate::cli::job::versions;
use crate::cli::stdout::Printed;
use crate::cli::{Exit, runs, signals, stdout};
use crate::digest::Digest;
use crate::judgement::Judgement;
use crate::quality::judge::pairs::{Contest, contests};
use crate::quality::judge::{Answer, Ask, Judge, Options, Summary, answer_all};
use crate::store::{Filter, NewJudge, RunLock, Store, Writer};

/// Pairs that cannot be judged are named one by one up to here, and counted beyond.
const NAMED: u64 = 20;

/// What there is to judge, and by whom.
pub(super) struct Work {
    /// The store.
    pub store: Store,
    /// The chains, in order.
    pub chains: Vec<ChainId>,
    /// The judge of each run's chains.
    pub judges: BTreeMap<String, Arc<Judge>>,
}

/// Who judges a run, once the model is known.
pub(super) struct Bench {
    /// By run: the judge, its name, and its key in the store, where it is kept.
    pub seats: HashMap<String, Seat>,
}

/// A judge as it is known in the store.
#[derive(Clone)]
pub(super) struct Seat {
    pub judge: Arc<Judge>,
    pub id: String,
    pub key: i64,
    /// Everything that is kept of it.
    pub record: Arc<NewJudge>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let work = work(args)?;
    let Some(first) = work.judges.values().next().cloned() else {
        return nothing(args);
    };
    let loaded = args.load(&first, work.chains.len() as u64)?;
    let seats = seats(args, &work, &loaded);
    if args.dry_run {
        return forecast::run(args, work, seats, &loaded);
    }
    judge(args, work, seats, &loaded)
}

/// There is nothing to judge, and no model is loaded. A program is given the figures all the same.
fn nothing(args: &Args) -> anyhow::Result<Exit> {
    crate::cli::exit::say("nothing to judge: no chain that was chosen has ended with a revision");
    let outcome = Outcome {
        figures: &Figures::default(),
        summary: Summary::default(),
        elapsed: Duration::ZERO,
        before: 0,
        equal: 0,
        judges: &Bench {
            seats: HashMap::new(),
        },
        pairs: args.pairs,
        mode: args.mode,
    };
    let mut printed = Printed::default();
    if args.json && !args.dry_run {
        printed.note(|| outcome.json());
    }
    printed.finish()?;
    Ok(Exit::Done)
}

fn work(args: &Args) -> anyhow::Result<Work> {
    let Chosen { store, filter, run } = args.chains.open()?;
    let pack = args.pack()?;
    let named = args.named_constitution()?;
    let mut judges = BTreeMap::new();
    let chains = store
        .chains_to_judge(&filter, run.as_deref())
        .map_err(runs::failed)?;
    // A run without a chain to judge may have a constitution that nobody can judge by.
    let revised = Filter::parse("revised:true status:done").unwrap_or_default();
    let run_ids = store
        .runs_with(&filter.and(revised), run.as_deref())
        .map_err(runs::failed)?;
    for run_id in run_ids {
        let constitution = match &named {
            Some(constitution) => constitution.clone(),
            None => store.run(&run_id).map_err(runs::failed)?.constitution,
        };
        judges.insert(run_id, args.judge(constitution, &pack)?);
    }
    Ok(Work {
        store,
        chains,
        judges,
    })
}

fn seats(args: &Args, work: &Work, loaded: &Loaded) -> Bench {
    let seat = |judge: &Arc<Judge>| {
        let record = NewJudge {
            mode: judge.mode,
            model: loaded.backend().identity().clone(),
            constitution: judge.constitution.clone(),
            pack_name: judge.pack.name.clone(),
            pack_text: judge.pack.text().to_owned(),
            pack_digest: judge.pack.judge_digest(),
            config: args.config(judge),
            versions: versions(),
        };
        Seat {
            judge: Arc::clone(judge),
            id: record.id(),
            key: 0,
            record: Arc::new(record),
        }
    };
    let seats = work.judges.iter();
    Bench {
        seats: seats
            .map(|(run, judge)| (run.clone(), seat(judge)))
            .collect(),
    }
}

/// What is asked about one contest.
pub(super) struct About {
    pub chain: ChainId,
    pub seat: Seat,
    pub contest: Contest,
}

/// The asks of all chains, one chain at a time; what needs none is counted.
pub(super) struct Asks<'a> {
    pub args: &'a Args,
    pub store: &'a Store,
    pub bench: &'a Bench,
    pub chains: std::slice::Iter<'a, ChainId>,
    pub ready: std::collections::VecDeque<About>,
    /// Chains that were looked at, pairs judged before, pairs of equal texts.
    pub seen: &'a std::cell::Cell<(u64, u64, u64)>,
}

impl Iterator for Asks<'_> {
    type Item = anyhow::Result<Ask<About>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            let chain = self.chains.next()?;
            if let Err(error) = self.look(chain) {
                return Some(Err(error));
            }
        }
        let about = self.ready.pop_front()?;
        let questions = about.contest.questions();
        Some(Ok(Ask { about, questions }))
    }
}

impl Asks<'_> {
    fn look(&mut self, chain: &ChainId) -> anyhow::Result<()> {
        let responses = self.store.responses(chain).map_err(runs::failed)?;
        let seat = self.bench.seats.get(&responses.run_id);
        // A run that appeared after the judges were made.
        let Some(seat) = seat else { return Ok(()) };
        let mut known = self.store.judgements(chain).map_err(runs::failed)?;
        known.retain(|row| row.judge_id == seat.id);
        let found = contests(&seat.judge, self.args.pairs, &responses, &known)
            .map_err(|error| usage(anyhow!("chain {}: {error}", chain.0)))?;
        let (seen, before, equal) = self.seen.get();
        self.seen
            .set((seen + 1, before + found.known, equal + found.equal));
        let about = found.open.into_iter().map(|contest| About {
            chain: chain.clone(),
            seat: seat.clone(),
            contest,
        });
        self.ready.extend(about);
        Ok(())
    }
}

fn judge(args: &Args, work: Work, mut bench: Bench, loaded: &Loaded) -> anyhow::Result<Exit> {
    let mut writer = Writer::open(args.chains.db()).map_err(runs::failed)?;
    let _lock = lock(args, &bench)?;
    for seat in bench.seats.values_mut() {
        seat.key = writer.begin_judge(&seat.record).map_err(runs::failed)?;
    }
    writer.keep().map_err(runs::failed)?;
    let interrupted = signals::interruption(
        "taking the answers in flight; press Ctrl-C again to leave at once",
        "left at once; the same command continues",
    )?;
    let seen = std::cell::Cell::new((0, 0, 0));
    let mut asks = Asks {
        args,
        store: &work.store,
        bench: &bench,
        chains: work.chains.iter(),
        ready: std::collections::VecDeque::new(),
        seen: &seen,
    };
    let options = Options {
        parallel: loaded.backend().parallelism(),
        interrupted: &interrupted,
    };
    let mut gathered = Gathered {
        json: args.json,
        figures: Figures::default(),
        ticker: Ticker::new(work.chains.len() as u64, "chains"),
        printed: Printed::default(),
    };
    let summary = answer_all(
        loaded.backend(),
        &mut writer,
        &mut asks,
        options,
        &mut |about, answers, writer| {
            gathered.take(&about, answers, writer)?;
            gathered.tick(seen.get().0);
            Ok::<_, anyhow::Error>(())
        },
    );
    let elapsed = gathered.ticker.finish();
    let summary = match summary {
        Ok(summary) => summary,
        Err(error) => bail!("{error:#}; what was judged is kept, the same command continues"),
    };
    let (_, before, equal) = seen.get();
    let outcome = Outcome {
        figures: &gathered.figures,
        summary,
        elapsed,
        before,
        equal,
        judges: &bench,
        pairs: args.pairs,
        mode: args.mode,
    };
    gathered.printed.note(|| match args.json {
        true => outcome.json(),
        false => outcome.print(),
    });
    gathered
        .printed
        .finish()
        .context("what was judged is kept")?;
    Ok(match summary.interrupted {
        true => Exit::Interrupted,
        false if gathered.figures.failed > 0 => Exit::SomeFailed,
        false => Exit::Done,
    })
}

/// Two processes that judge the same would ask everything twice.
fn lock(args: &Args, bench: &Bench) -> anyhow::Result<RunLock> {
    let mut ids: Vec<_> = bench.seats.values().map(|seat| seat.id.clone()).collect();
    ids.sort();
    ids.dedup();
    let key = format!("judge-{}", Digest::of(&ids).id(10));
    RunLock::acquire(args.chains.db(), &key).map_err(runs::failed)
}

/// What is gathered while answers come.
struct Gathered {
    json: bool,
    figures: Figures,
    ticker: Ticker,
    printed: Printed,
}

impl Gathered {
    fn take(
        &mut self,
        about: &About,
        answers: Result<Vec<Answer>, String>,
        writer: &mut Writer,
    ) -> anyhow::Result<()> {
        let judged = answers.and_then(|a| about.contest.judge(&about.seat.judge, a));
        match judged {
            Ok(judgement) => {
                writer.record_judgement(about.seat.key, &about.chain, &judgement)?;
                self.figures.add(&judgement);
                if self.json {
                    self.printed.note(|| stdout::line(&line(about, &judgement)));
                }
            }
            Err(error) => {
                self.figures.failed += 1;
                match self.figures.failed {
                    n if n <= NAMED => {
                        let line = format!("not judged: chain {}: {error}", about.chain.0);
                        self.ticker.say(&line);
                    }
                    n if n == NAMED + 1 => self
                        .ticker
                        .say("not judged: more, which are only counted from here on"),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self, seen: u64) {
        self.ticker.tick(seen, self.figures.judged);
    }
}

/// What a program is told of a judgement.
fn line(about: &About, judgement: &Judgement) -> Value {
    let principles: Vec<_> = judgement.votes.iter().map(|vote| &vote.principle).collect();
    json!({
        "event": "judgement",
        "chain_id": about.chain,
        "judge_id": about.seat.id,
        "kind": judgement.kind,
        "first": judgement.first,
        "second": judgement.second,
        "principles": principles,
        "p_ab": judgement.preference.p_ab,
        "p_ba": judgement.preference.p_ba,
        "p": judgement.p,
        "agree": judgement.preference.agrees(),
        "margin": judgement.margin(),
    })
}
