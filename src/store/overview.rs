//! What lists, charts, figures and comparisons need of every chain, in memory.
//!
//! Only what never changes is kept: which chains hold a text, what their steps found, and how they ended where
//! they are done. It is read once, and from then on as far as the store has grown, so that 100,000 chains are
//! counted without reading their steps again. What may change (labels, chains that run or have failed) is asked
//! of the store each time.

mod histories;
mod lists;
mod news;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Row, params_from_iter};

use super::chain_set::ChainSet;
use super::filter_sql::{Condition, FROM};
use crate::chain::StepKind;
use crate::verdict::VerdictSource;
pub(super) use histories::{Done, Histories};
use lists::{Last, Lists, Numbered};
use news::News;

/// What the connections to one file share, so that none reads again what another has read. Empty at first.
///
/// No statement of SQL runs while `known` is locked, so that nobody waits for what another looks up.
#[derive(Debug, Default)]
pub struct Overview {
    known: RwLock<Known>,
    /// Held by the one connection that reads on.
    reading: Mutex<()>,
}

impl Overview {
    /// The overview of the moment that `conn` sees. Inside a transaction, so that there is one such moment.
    pub(super) fn now(&self, conn: &Connection) -> rusqlite::Result<Seen<'_>> {
        let now = Reach::of(conn)?;
        let reach = self.known().reach;
        if !reach.covers(now) {
            let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            // Another connection may have read on meanwhile.
            let from = self.known().reach;
            if !from.covers(now) {
                let news = News::read(conn, from)?;
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.append(news, now);
            }
        }
        let chains = self.known().keys.partition_point(|key| *key <= now.chain);
        Ok(Seen {
            overview: self,
            chains,
        })
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last keys of what only grows.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    chain: i64,
    step: i64,
    event: i64,
}

impl Reach {
    fn of(conn: &Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached(
            "SELECT (SELECT ifnull(max(id), 0) FROM chains), (SELECT ifnull(max(id), 0) FROM steps),
                 (SELECT ifnull(max(id), 0) FROM events)",
        )?
        .query_row([], |row| {
            Ok(Self {
                chain: row.get(0)?,
                step: row.get(1)?,
                event: row.get(2)?,
            })
        })
    }

    fn covers(self, other: Self) -> bool {
        self.chain >= other.chain && self.step >= other.step && self.event >= other.event
    }
}

/// What is counted of a chain's steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Finding {
    /// A critique's verdict.
    Verdict {
        /// The principle.
        principle: String,
        /// What was found.
        violated: bool,
    },
    /// A round in which a revision was adopted; once a chain.
    Revised(u32),
    /// A flag; once a chain.
    Flag(String),
}

/// What a step about a principle did, but for its probability.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    /// The principle.
    pub principle: String,
    /// Critique, revision or recheck.
    pub kind: StepKind,
    /// Whether its output became the chain's response.
    pub adopted: bool,
    /// What was found.
    pub verdict: Option<MarkedVerdict>,
}

/// A verdict, but for its probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MarkedVerdict {
    /// Whether the response violates the principle.
    pub violated: bool,
    /// Whether the quote occurs in the response.
    pub quote_verified: bool,
    /// Who decided.
    pub source: VerdictSource,
}

/// What the row of a chain says of its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct End<'a> {
    /// Where the chain stands.
    pub status: &'a str,
    /// Why it ended.
    pub stop: Option<&'a str>,
    /// Length of the final text over that of the draft.
    pub length_ratio: Option<f64>,
    /// Whether a revision was adopted.
    pub revised: bool,
    /// Whether the final text violates a principle again.
    pub regressed: bool,
    /// The key of the draft's text.
    pub draft: Option<i64>,
    /// The key of the final text.
    pub last: Option<i64>,
}

impl<'a> End<'a> {
    /// The columns that [`read`](Self::read) reads, of `c`.
    pub const COLUMNS: &'static str =
        "c.status, c.stop_reason, c.length_ratio, c.revised, c.regressed <> '[]', c.draft, c.final";

    /// Reads them, where they begin at a column.
    pub fn read(row: &'a Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            status: row.get_ref(at)?.as_str()?,
            stop: row.get_ref(at + 1)?.as_str_or_null()?,
            length_ratio: row.get(at + 2)?,
            revised: row.get(at + 3)?,
            regressed: row.get(at + 4)?,
            draft: row.get(at + 5)?,
            last: row.get(at + 6)?,
        })
    }
}

/// The status of a chain of which nothing changes any more but its labels.
const DONE: &str = "done";

/// The end of a chain that is done.
#[derive(Clone, Copy, Debug)]
struct Ended {
    /// A number of the `stops` beside it.
    stop: Option<u32>,
    length_ratio: Option<f64>,
    revised: bool,
    regressed: bool,
    draft: Option<i64>,
    last: Option<i64>,
}

/// Tells prompts apart by id and conversation, whatever else their rows hold.
type Question = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Chain {
    position: i64,
    sample: u32,
    question: Question,
    /// `None` where it is not done.
    ended: Option<Ended>,
    /// Numbers of findings.
    found: Last,
    /// Steps about principles.
    steps: Last,
}

/// A step about a principle.
#[derive(Clone, Copy, Debug)]
pub(super) struct MarkedStep {
    /// The number of its mark.
    pub mark: u32,
    /// P(violated); NaN where it is not known.
    pub probability: f64,
}

#[derive(Debug, Default)]
struct Known {
    reach: Reach,
    /// Keys of the chains, in order. A chain's place is its index here.
    keys: Vec<i64>,
    /// By place.
    chains: Vec<Chain>,
    /// Reasons for which chains ended.
    stops: Numbered<String>,
    findings: Numbered<Finding>,
    marks: Numbered<Mark>,
    /// By key of a text: places of the chains that hold it as prompt or as output of a step.
    texts: HashMap<i64, Last>,
    /// Numbers of findings of chains, and places of texts.
    lists: Lists<u32>,
    steps: Lists<MarkedStep>,
}

impl Known {
    /// Takes up what was written up to `to`. Nothing here can fail, so that it is taken up as a whole.
    fn append(&mut self, news: News, to: Reach) {
        let stops = self.stops.take_up(news.stops);
        let findings = self.findings.take_up(news.findings);
        let marks = self.marks.take_up(news.marks);
        let here = |ended: Ended| Ended {
            stop: ended.stop.map(|stop| stops[stop as usize]),
            ..ended
        };
        for (key, text, chain) in news.chains {
            let place = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
            self.keys.push(key);
            self.chains.push(Chain {
                ended: chain.ended.map(here),
                ..chain
            });
            self.add_text(text, place);
        }
        for (key, ended) in news.ended {
            if let Some(place) = self.place(key) {
                self.chains[place].ended = Some(here(ended));
            }
        }
        for (key, text) in news.outputs {
            if let Some(place) = self.place(key) {
                self.add_text(text, place as u32);
            }
        }
        for (key, number) in news.found {
            if let Some(place) = self.place(key) {
                self.add_finding(place, findings[number as usize]);
            }
        }
        for (key, number, probability) in news.steps {
            if let Some(place) = self.place(key) {
                let step = MarkedStep {
                    mark: marks[number as usize],
                    probability,
                };
                let chain = &mut self.chains[place];
                chain.steps = self.steps.push(chain.steps, step);
            }
        }
        self.reach = to;
    }

    fn add_text(&mut self, text: i64, place: u32) {
        let last = self.texts.entry(text).or_default();
        *last = self.lists.push(*last, place);
    }

    /// Each finding is kept once a chain.
    fn add_finding(&mut self, place: usize, number: u32) {
        let last = self.chains[place].found;
        if self.lists.items(last).all(|found| found != number) {
            self.chains[place].found = self.lists.push(last, number);
        }
    }

    fn place(&self, key: i64) -> Option<usize> {
        let first = *self.keys.first()?;
        // Keys are given out one after the other, so that there are hardly ever gaps.
        let guess = usize::try_from(key.checked_sub(first)?).ok()?;
        match self.keys.get(guess) == Some(&key) {
            true => Some(guess),
            false => self.keys.binary_search(&key).ok(),
        }
    }
}

/// The overview as it was at a moment of the store.
pub(super) struct Seen<'a> {
    overview: &'a Overview,
    /// How many chains there were: another connection may have seen more by now.
    chains: usize,
}

impl Seen<'_> {
    /// No chain.
    pub fn none(&self) -> ChainSet {
        ChainSet::none(self.chains)
    }

    /// Every chain.
    pub fn all(&self) -> ChainSet {
        ChainSet::all(self.chains)
    }

    /// The chains that meet a condition.
    pub fn meeting(&self, conn: &Connection, condition: &Condition) -> rusqlite::Result<ChainSet> {
        let sql = format!("SELECT c.id FROM {FROM} WHERE {}", condition.sql);
        self.selected(conn, &sql, &condition.params)
    }

    /// The chains whose keys a statement gives, each as often as it likes.
    pub fn selected(
        &self,
        conn: &Connection,
        sql: &str,
        params: &[SqlValue],
    ) -> rusqlite::Result<ChainSet> {
        let mut statement = conn.prepare_cached(sql)?;
        let keys: Vec<Option<i64>> = statement
            .query_map(params_from_iter(params), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut set = self.none();
        let known = self.overview.known();
        for place in keys
            .into_iter()
            .flatten()
            .filter_map(|key| known.place(key))
        {
            set.insert(place);
        }
        Ok(set)
    }

    /// The chains of which a text holds what the full-text search is asked for.
    pub fn holding(&self, conn: &Connection, phrase: &str) -> rusqlite::Result<ChainSet> {
        let mut statement =
            conn.prepare_cached("SELECT rowid FROM search WHERE search MATCH ?1")?;
        let texts: Vec<i64> = statement
            .query_map([phrase], |row| row.get::<_, i64>(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut set = self.none();
        let known = self.overview.known();
        for last in texts.iter().filter_map(|text| known.texts.get(text)) {
            for place in known.lists.items(*last) {
                set.insert(place as usize);
            }
        }
        Ok(set)
    }

    /// A chain's place.
    pub fn place(&self, key: i64) -> Option<usize> {
        let place = self.overview.known().place(key);
        place.filter(|place| *place < self.chains)
    }

    /// The keys of some chains.
    pub fn keys(&self, of: &ChainSet) -> Vec<i64> {
        let known = self.overview.known();
        of.iter().map(|place| known.keys[place]).collect()
    }

    /// Hands out how those of some chains ended that are done, as far as is known here.
    pub fn each_end(&self, of: impl Iterator<Item = usize>, mut each: impl FnMut(End<'_>)) {
        let known = self.overview.known();
        let stops = known.stops.all();
        for ended in of.filter_map(|place| known.chains[place].ended) {
            each(End {
                status: DONE,
                stop: ended.stop.map(|stop| stops[stop as usize].as_str()),
                length_ratio: ended.length_ratio,
                revised: ended.revised,
                regressed: ended.regressed,
                draft: ended.draft,
                last: ended.last,
            });
        }
    }

    /// How often each thing was found in the steps of some chains.
    pub fn findings(&self, of: &ChainSet) -> Vec<(Finding, u64)> {
        let known = self.overview.known();
        let mut found = vec![0_u64; known.findings.all().len()];
        let mut marked = vec![0_u64; known.marks.all().len()];
        for place in of.iter() {
            let chain = &known.chains[place];
            for number in known.lists.items(chain.found) {
                found[number as usize] += 1;
            }
            for step in known.steps.items(chain.steps) {
                marked[step.mark as usize] += 1;
            }
        }
        let verdicts = known.marks.all().iter().zip(marked);
        let verdicts = verdicts.filter_map(|(mark, count)| Some((mark.finding()?, count)));
        let findings = known.findings.all().iter().cloned().zip(found);
        findings
            .chain(verdicts)
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The steps of some chains about principles.
    pub fn histories(&self, of: &ChainSet) -> Histories {
        let known = self.overview.known();
        Histories::of(&known, of.iter())
    }

    /// Those of some chains that are done, as far as is known here, and the steps of each.
    pub fn done(&self, of: &ChainSet) -> (Vec<Done>, Histories) {
        let known = self.overview.known();
        let done: Vec<Done> = of
            .iter()
            .filter_map(|place| {
                let chain = &known.chains[place];
                let ended = chain.ended?;
                Some(Done {
                    key: known.keys[place],
                    position: chain.position,
                    sample: chain.sample,
                    question: chain.question,
                    draft: ended.draft,
                    last: ended.last,
                    revised: ended.revised,
                })
            })
            .collect();
        let places = of
            .iter()
            .filter(|place| known.chains[*place].ended.is_some());
        let histories = Histories::of(&known, places);
        (done, histories)
    }
}

impl Mark {
    /// What charts count of it: verdicts of critiques.
    fn finding(&self) -> Option<Finding> {
        let verdict = self.verdict.filter(|_| self.kind == StepKind::Critique)?;
        Some(Finding::Verdict {
            principle: self.principle.clone(),
            violated: verdict.violated,
        })
    }
}
