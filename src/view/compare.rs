//! Two runs side by side, a page of pairs at a time.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Answer, Params, Shared};
use super::chain::{Difference, difference};
use crate::evaluation::Pair;
use crate::store::{Compared, RunRow, Store, StoreError};

/// Pairs of a page, where the page does not say.
const PAIRS: usize = 20;
/// The most that it can say.
const MAX_PAIRS: usize = 100;

#[derive(Clone, Debug, Deserialize)]
pub struct CompareParams {
    a: String,
    b: String,
    /// Only pairs that differ.
    #[serde(default)]
    differs: bool,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct PairPage {
    pair: Pair,
    differs: bool,
    /// From the first final text to the second.
    diff: Option<Difference>,
}

/// What a comparison came to, so that its pages need not compare everything again.
struct Summary {
    /// The runs, as they stood.
    runs: [RunRow; 2],
    compared: Compared,
}

/// The last comparison.
#[derive(Default)]
pub struct Latest(Mutex<Option<Arc<Summary>>>);

impl Latest {
    /// The comparison of two runs as they stand now.
    fn of(&self, store: &Store, runs: [RunRow; 2]) -> Result<Arc<Summary>, StoreError> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(summary) = kept().as_ref().filter(|summary| summary.runs == runs) {
            return Ok(Arc::clone(summary));
        }
        let compared = store.compared(&runs[0].run_id, &runs[1].run_id)?;
        let summary = Arc::new(Summary { runs, compared });
        *kept() = Some(Arc::clone(&summary));
        Ok(summary)
    }
}

/// A page of pairs, with the figures of all.
pub async fn compare(State(app): Shared, params: Params<CompareParams>) -> Answer<Value> {
    let Query(params) = params?;
    let shared = Arc::clone(&app);
    app.pool
        .read(move |store| {
            let run = |prefix: &str| store.run(&store.resolve_run(prefix)?);
            let (first, second) = (run(&params.a)?, run(&params.b)?);
            let settings = (shared.settings)(&first.config, &second.config);
            let other = second.row.run_id.clone();
            let summary = shared.latest.of(store, [first.row, second.row])?;
            let compared = &summary.compared;
            let wanted = compared.pairs.iter().copied();
            let wanted = wanted.filter(|pair| pair.differs || !params.differs);
            let total = wanted.clone().count();
            let limit = params.limit.unwrap_or(PAIRS).min(MAX_PAIRS);
            let mut pairs = Vec::new();
            for found in wanted.skip(params.offset).take(limit) {
                // One that is no pair any more is left out until the next look.
                let Some(pair) = store.pair(found, &other)? else {
                    continue;
                };
                let (a, b) = (&pair.first.last, &pair.second.last);
                let diff = (a != b).then(|| difference(a, b));
                pairs.push(PairPage {
                    pair,
                    differs: found.differs,
                    diff,
                });
            }
            let paired = compared.counts.pairs;
            Ok(Json(json!({
                "first": summary.runs[0],
                "second": summary.runs[1],
                "settings": settings,
                "comparison": compared.counts,
                "left_out_first": compared.alone,
                "left_out_second": summary.runs[1].chains.saturating_sub(paired),
                "total": total,
                "offset": params.offset,
                "pairs": pairs,
            })))
        })
        .await
}
