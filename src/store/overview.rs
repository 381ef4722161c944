//! What lists and charts need of every chain, in memory.
//!
//! Only what never changes is kept: which chains hold a text, what their steps found, and how they ended where
//! they are done. It is read once, and from then on as far as the store has grown, so that 100,000 chains are
//! counted without reading their steps again. What may change (labels, chains that run or have failed) is asked
//! of the store each time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use rusqlite::{Connection, Row, params_from_iter};

use super::chain_set::ChainSet;
use super::filter_sql::{Condition, FROM};

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
}

impl<'a> End<'a> {
    /// The columns that [`read`](Self::read) reads, of `c`.
    pub const COLUMNS: &'static str =
        "c.status, c.stop_reason, c.length_ratio, c.revised, c.regressed <> '[]'";

    /// Reads them, where they begin at a column.
    pub fn read(row: &'a Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            status: row.get_ref(at)?.as_str()?,
            stop: row.get_ref(at + 1)?.as_str_or_null()?,
            length_ratio: row.get(at + 2)?,
            revised: row.get(at + 3)?,
            regressed: row.get(at + 4)?,
        })
    }
}

/// The status of a chain of which nothing changes any more but its labels.
const DONE: &str = "done";

/// The end of a chain that is done.
#[derive(Clone, Copy, Debug)]
struct Ended {
    /// An index of the `stops` beside it.
    stop: Option<usize>,
    length_ratio: Option<f64>,
    revised: bool,
    regressed: bool,
}

/// Lists that grow at any time, in one vector: each item knows the one before it.
#[derive(Debug, Default)]
struct Lists(Vec<(u32, Last)>);

/// Where a list ends: the place behind its last item; 0 for an empty list.
type Last = u32;

impl Lists {
    /// Adds to a list that ends at `last`, and gives back where it ends then.
    fn push(&mut self, last: Last, item: u32) -> Last {
        self.0.push((item, last));
        // As many items as do not fit here would not fit into memory either.
        self.0.len() as Last
    }

    /// The items of a list, the last one first.
    fn items(&self, last: Last) -> impl Iterator<Item = u32> {
        let all = &self.0;
        let at = move |last: Last| all.get((last as usize).checked_sub(1)?).copied();
        std::iter::successors(at(last), move |(_, before)| at(*before)).map(|(item, _)| item)
    }
}

/// Findings by number.
#[derive(Debug, Default)]
struct Findings {
    all: Vec<Finding>,
    numbers: HashMap<Finding, u32>,
}

impl Findings {
    fn number(&mut self, finding: Finding) -> u32 {
        if let Some(number) = self.numbers.get(&finding) {
            return *number;
        }
        let number = self.all.len() as u32;
        self.all.push(finding.clone());
        self.numbers.insert(finding, number);
        number
    }
}

#[derive(Debug, Default)]
struct Known {
    reach: Reach,
    /// Keys of the chains, in order. A chain's place is its index here.
    keys: Vec<i64>,
    /// By place; `None` where a chain is not done.
    ends: Vec<Option<Ended>>,
    /// Reasons for which chains ended.
    stops: Vec<String>,
    /// By place: numbers of findings.
    found: Vec<Last>,
    findings: Findings,
    /// By key of a text: places of the chains that hold it as prompt or as output of a step.
    texts: HashMap<i64, Last>,
    lists: Lists,
}

/// What was written since, by keys of chains.
#[derive(Debug, Default)]
struct News {
    /// With the texts of their prompts.
    chains: Vec<(i64, i64, Option<Ended>)>,
    /// Chains that were known, and are done now.
    ended: Vec<(i64, Ended)>,
    /// Texts of steps.
    outputs: Vec<(i64, i64)>,
    /// Numbers of findings.
    found: Vec<(i64, u32)>,
    /// Reasons and findings that are spoken of, by numbers of their own.
    stops: Vec<String>,
    findings: Findings,
}

const STEPS: &str = "SELECT chain, output, CASE WHEN kind = 'revision' AND adopted THEN round END
    FROM steps WHERE id > ?1";
const VERDICTS: &str = "SELECT chain, principle, violated FROM verdicts
    WHERE step > ?1 AND kind = 'critique' AND principle IS NOT NULL";
const FLAGS: &str = "SELECT chain, flag FROM step_flags WHERE step > ?1";

impl News {
    fn read(conn: &Connection, from: Reach) -> rusqlite::Result<Self> {
        let mut news = Self::default();
        let ends = End::COLUMNS;
        let chains = format!(
            "SELECT c.id, p.text, {ends} FROM chains c CROSS JOIN prompts p ON p.id = c.prompt
             WHERE c.id > ?1 ORDER BY c.id"
        );
        each(conn, &chains, from.chain, |row| {
            let ended = Ended::of(End::read(row, 2)?, &mut news.stops);
            news.chains.push((row.get(0)?, row.get(1)?, ended));
            Ok(())
        })?;
        // The ends of chains that were never looked at before came with the chains.
        if from.chain > 0 {
            let ended = format!(
                "SELECT c.id, {ends} FROM events e CROSS JOIN chains c ON c.id = e.chain
                 WHERE e.id > ?1 AND e.what = 'end'"
            );
            each(conn, &ended, from.event, |row| {
                if let Some(ended) = Ended::of(End::read(row, 1)?, &mut news.stops) {
                    news.ended.push((row.get(0)?, ended));
                }
                Ok(())
            })?;
        }
        each(conn, STEPS, from.step, |row| {
            let chain: i64 = row.get(0)?;
            news.outputs.push((chain, row.get(1)?));
            let revised: Option<u32> = row.get(2)?;
            if let Some(round) = revised {
                let number = news.findings.number(Finding::Revised(round));
                news.found.push((chain, number));
            }
            Ok(())
        })?;
        each(conn, VERDICTS, from.step, |row| {
            let number = news.findings.number(Finding::Verdict {
                principle: row.get(1)?,
                violated: row.get(2)?,
            });
            news.found.push((row.get(0)?, number));
            Ok(())
        })?;
        each(conn, FLAGS, from.step, |row| {
            let number = news.findings.number(Finding::Flag(row.get(1)?));
            news.found.push((row.get(0)?, number));
            Ok(())
        })?;
        Ok(news)
    }
}

impl Ended {
    /// `None` where the chain is not done. `stops` takes up reasons that it does not hold.
    fn of(end: End<'_>, stops: &mut Vec<String>) -> Option<Self> {
        (end.status == DONE).then(|| Self {
            stop: end.stop.map(|stop| number_of(stops, stop)),
            length_ratio: end.length_ratio,
            revised: end.revised,
            regressed: end.regressed,
        })
    }
}

fn number_of(stops: &mut Vec<String>, stop: &str) -> usize {
    let known = stops.iter().position(|known| known == stop);
    known.unwrap_or_else(|| {
        stops.push(stop.to_owned());
        stops.len() - 1
    })
}

impl Known {
    /// Takes up what was written up to `to`. Nothing here can fail, so that it is taken up as a whole.
    fn append(&mut self, news: News, to: Reach) {
        let stops: Vec<usize> = news
            .stops
            .iter()
            .map(|stop| number_of(&mut self.stops, stop))
            .collect();
        let numbers: Vec<u32> = news
            .findings
            .all
            .into_iter()
            .map(|finding| self.findings.number(finding))
            .collect();
        let here = |ended: Ended| Ended {
            stop: ended.stop.map(|stop| stops[stop]),
            ..ended
        };
        for (key, text, ended) in news.chains {
            let place = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
            self.keys.push(key);
            self.ends.push(ended.map(here));
            self.found.push(0);
            self.add_text(text, place);
        }
        for (key, ended) in news.ended {
            if let Some(place) = self.place(key) {
                self.ends[place] = Some(here(ended));
            }
        }
        for (key, text) in news.outputs {
            if let Some(place) = self.place(key) {
                self.add_text(text, place as u32);
            }
        }
        for (key, number) in news.found {
            if let Some(place) = self.place(key) {
                self.add_finding(place, numbers[number as usize]);
            }
        }
        self.reach = to;
    }

    fn add_text(&mut self, text: i64, place: u32) {
        let last = self.texts.entry(text).or_default();
        *last = self.lists.push(*last, place);
    }

    /// Verdicts are counted each, all else once a chain.
    fn add_finding(&mut self, place: usize, number: u32) {
        let last = self.found[place];
        let each = matches!(self.findings.all[number as usize], Finding::Verdict { .. });
        if each || self.lists.items(last).all(|found| found != number) {
            self.found[place] = self.lists.push(last, number);
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

fn each(
    conn: &Connection,
    sql: &str,
    after: i64,
    mut add: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([after])?;
    while let Some(row) = rows.next()? {
        add(row)?;
    }
    Ok(())
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
        let mut statement = conn.prepare_cached(&sql)?;
        let keys: Vec<i64> = statement
            .query_map(params_from_iter(&condition.params), |row| {
                row.get::<_, i64>(0)
            })?
            .collect::<rusqlite::Result<_>>()?;
        let mut set = self.none();
        let known = self.overview.known();
        for place in keys.into_iter().filter_map(|key| known.place(key)) {
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
        for ended in of.filter_map(|place| known.ends[place].as_ref()) {
            each(End {
                status: DONE,
                stop: ended.stop.map(|stop| known.stops[stop].as_str()),
                length_ratio: ended.length_ratio,
                revised: ended.revised,
                regressed: ended.regressed,
            });
        }
    }

    /// How often each thing was found in the steps of some chains.
    pub fn findings(&self, of: &ChainSet) -> Vec<(Finding, u64)> {
        let known = self.overview.known();
        let mut counts = vec![0_u64; known.findings.all.len()];
        for place in of.iter() {
            for number in known.lists.items(known.found[place]) {
                counts[number as usize] += 1;
            }
        }
        let counted = known.findings.all.iter().zip(counts);
        counted
            .filter(|(_, count)| *count > 0)
            .map(|(finding, count)| (finding.clone(), count))
            .collect()
    }
}
