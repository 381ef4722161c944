//! The steps about principles, chain by chain.

use rusqlite::params_from_iter;

use super::{Filter, Store, StoreError, filter_sql, read};
use crate::evaluation::{Coverage, Found, Trace};

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
                    principle: row.get(1)?,
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
}
