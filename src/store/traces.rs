//! The steps about principles, chain by chain.

use std::collections::BTreeMap;

use rusqlite::params_from_iter;

use super::overview::{Histories, MarkedStep};
use super::{Filter, Store, StoreError, filter_sql, read};
use crate::evaluation::{Coverage, Found, PrincipleCoverage, Trace};

impl Store {
    /// What the principles did in the matching chains. `run` is a whole id.
    pub fn coverage(&self, filter: &Filter, run: Option<&str>) -> Result<Coverage, StoreError> {
        let condition = filter_sql::condition(filter, run);
        self.snapshot(|conn| {
            let sql = format!(
                "SELECT c.id, s.principle, s.kind, s.adopted, v.violated, v.probability,
                     v.quote_verified, v.source
                 FROM {} JOIN steps s ON s.chain = c.id LEFT JOIN verdicts v ON v.step = s.id
                 WHERE ({}) AND s.principle IS NOT NULL ORDER BY c.id, s.ordinal",
                filter_sql::FROM,
                condition.sql
            );
            let mut statement = conn.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(&condition.params))?;
            let mut coverage = Coverage::default();
            let (mut current, mut steps) = (None, Vec::new());
            while let Some(row) = rows.next()? {
                let chain: i64 = row.get(0)?;
                if current.is_some_and(|current| current != chain) {
                    coverage.add(&steps);
                    steps.clear();
                }
                current = Some(chain);
                let violated: Option<bool> = row.get(4)?;
                let found = violated.map(|violated| {
                    Ok::<_, rusqlite::Error>(Found {
                        violated,
                        probability: row.get(5)?,
                        quote_verified: row.get(6)?,
                        source: read::name(row, 7)?,
                    })
                });
                steps.push(Trace {
                    principle: row.get::<_, String>(1)?,
                    kind: read::name(row, 2)?,
                    adopted: row.get(3)?,
                    found: found.transpose()?,
                });
            }
            if current.is_some() {
                coverage.add(&steps);
            }
            Ok(coverage)
        })
    }

    /// What each principle did in all chains of a run, by its whole id. It is what [`coverage`](Self::coverage)
    /// says, from what is kept in memory.
    pub fn principle_coverage(
        &self,
        run: &str,
    ) -> Result<BTreeMap<String, PrincipleCoverage>, StoreError> {
        self.snapshot(|conn| {
            let seen = self.overview().now(conn)?;
            let chains = seen.matching(conn, &Filter::all(), Some(run))?;
            Ok(by_principle(&seen.histories(&chains)))
        })
    }
}

fn by_principle(histories: &Histories) -> BTreeMap<String, PrincipleCoverage> {
    let (names, places) = histories.principles();
    let marks = histories.marks();
    let trace = |step: &MarkedStep| {
        let mark = &marks[step.mark as usize];
        let found = mark.verdict.map(|verdict| Found {
            violated: verdict.violated,
            probability: Some(step.probability).filter(|p| !p.is_nan()),
            quote_verified: verdict.quote_verified,
            source: verdict.source,
        });
        Trace {
            principle: places[step.mark as usize],
            kind: mark.kind,
            adopted: mark.adopted,
            found,
        }
    };
    let mut coverage = Coverage::default();
    let mut steps = Vec::new();
    for chain in histories.chains() {
        steps.clear();
        steps.extend(chain.iter().map(trace));
        coverage.add(&steps);
    }
    let named = coverage.principles.into_iter();
    named
        .map(|(place, did)| (names[place].to_owned(), did))
        .collect()
}
