//! What the pages ask for.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::chain::{ChainPage, Context};
use super::error::ApiError;
use super::figures::Figures;
use super::live::{self, Pulse};
use super::pool::Pool;
use super::server::{Options, Reproduce, Settings};
use super::{assets, compare, labels};
use crate::chain::ChainId;
use crate::store::{Facets, Filter, PageRequest, Sort, SortKey, Store};

/// Rows of a page of the list, where the page does not say.
const ROWS: u32 = 50;
/// The most that it can say.
const MAX_ROWS: u32 = 500;

/// What answers need.
pub struct App {
    /// The store.
    pub pool: Pool,
    /// Whether labels can be written.
    pub read_only: bool,
    /// Who labels.
    pub who: String,
    /// Settings in which two runs differ.
    pub settings: Box<Settings>,
    /// The last comparison of two runs.
    pub latest: compare::Latest,
    figures: Figures,
    reproduce: Box<Reproduce>,
}

impl App {
    /// What answers need, of the options.
    pub fn new(pool: Pool, options: Options) -> Self {
        Self {
            pool,
            read_only: options.read_only,
            who: options.who,
            settings: options.settings,
            latest: compare::Latest::default(),
            figures: Figures::default(),
            reproduce: options.reproduce,
        }
    }
}

pub(super) type Shared = State<Arc<App>>;
pub(super) type Answer<T> = Result<Json<T>, ApiError>;
/// Names in the address.
pub(super) type Names<T> = Result<UrlPath<T>, PathRejection>;
pub(super) type Params<T> = Result<Query<T>, QueryRejection>;

/// The routes without the guard.
pub fn routes(app: Arc<App>, told: watch::Receiver<Pulse>) -> Router {
    Router::new()
        .route("/", get(|| async { assets::index() }))
        .route("/{name}", get(asset))
        .route("/api/info", get(info))
        .route("/api/chains", get(list))
        .route("/api/charts", get(charts))
        .route("/api/chains/{id}", get(chain))
        .route("/api/chains/{id}/labels", post(labels::label))
        .route("/api/labels", get(labels::count).post(labels::label_all))
        .route("/api/runs/{id}", get(run))
        .route("/api/compare", get(compare::compare))
        .route("/api/chains/{id}/steps/{step}", get(calls))
        .route(
            "/api/events",
            get(move || async move { live::events(told.clone()) }),
        )
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "there is no such page") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here")
        })
        .with_state(app)
}

async fn asset(name: Names<String>) -> Response {
    match name.ok().and_then(|UrlPath(name)| assets::find(&name)) {
        Some(asset) => asset.respond(),
        None => ApiError::new(StatusCode::NOT_FOUND, "there is no such page").into_text(),
    }
}

/// What every page needs: the runs, and what filters can say.
async fn info(State(app): Shared) -> Answer<Value> {
    let shared = Arc::clone(&app);
    app.pool
        .read(move |store| {
            let db = shared.pool.path();
            Ok(Json(json!({
                "version": env!("CARGO_PKG_VERSION"),
                "db": db.file_name().map(|name| name.to_string_lossy()),
                "read_only": shared.read_only,
                "who": shared.who,
                "live": true,
                "runs": live::runs(store, db)?,
                "keys": Filter::keys(),
                "principles": principles(store)?,
            })))
        })
        .await
}

/// Titles of the principles of all runs, by id; where runs differ, that of the latest.
fn principles(store: &Store) -> Result<Value, ApiError> {
    let mut titles = serde_json::Map::new();
    let mut seen = Vec::new();
    for run in store.runs()? {
        if seen.contains(&run.constitution_digest) {
            continue;
        }
        let detail = store.run(&run.run_id)?;
        let found = detail.constitution.principles.into_iter();
        titles.extend(found.map(|p| (p.id, Value::from(p.title))));
        seen.push(run.constitution_digest);
    }
    Ok(Value::Object(titles))
}

/// Which chains, in which order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ListParams {
    q: String,
    sort: String,
    offset: u64,
    limit: Option<u32>,
    /// Whether it is an answer what is wrong with the filter, and no failure.
    lenient: bool,
}

impl ListParams {
    fn filter(&self) -> Result<Filter, ApiError> {
        Filter::parse(&self.q).map_err(|error| {
            let error = ApiError::from(error);
            match self.lenient {
                true => error.answered(),
                false => error,
            }
        })
    }
}

/// A page of chains, and how many there are.
async fn list(State(app): Shared, params: Params<ListParams>) -> Answer<Value> {
    let Query(params) = params?;
    let filter = params.filter()?;
    let sort = sort(&params.sort)?;
    let limit = params.limit.unwrap_or(ROWS).min(MAX_ROWS);
    app.pool
        .read(move |store| {
            let page = store.page(&PageRequest {
                filter: &filter,
                run: None,
                sort,
                offset: params.offset,
                limit,
            })?;
            Ok(Json(
                json!({ "total": page.total, "offset": params.offset, "rows": page.rows }),
            ))
        })
        .await
}

/// An order as pages write it: `changed`, or `-changed` for the other way round.
fn sort(text: &str) -> Result<Sort, ApiError> {
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    if name.is_empty() {
        return Ok(Sort::default());
    }
    let known = SortKey::ALL.into_iter().find(|key| key.as_str() == name);
    let names = || SortKey::ALL.map(SortKey::as_str).join(", ");
    let unknown = || ApiError::bad(format!("no order `{name}`; there are {}", names()));
    let key = known.ok_or_else(unknown)?;
    Ok(Sort { key, descending })
}

/// Figures of the chains that match.
async fn charts(State(app): Shared, params: Params<ListParams>) -> Answer<Facets> {
    let Query(params) = params?;
    let filter = params.filter()?;
    app.pool
        .read(move |store| Ok(Json(store.facets(&filter, None)?)))
        .await
}

/// A chain, and where it stands among those that match.
async fn chain(State(app): Shared, id: Names<String>, params: Params<ListParams>) -> Answer<Value> {
    let (UrlPath(id), Query(params)) = (id?, params?);
    let filter = params.filter()?;
    let sort = sort(&params.sort)?;
    let shared = Arc::clone(&app);
    app.pool
        .read(move |store| {
            let id = store.resolve_chain(&id)?;
            let chain = store.chain(&id)?;
            let run = store.run(&chain.row.run_id)?;
            let command = (shared.reproduce)(store, &run, &chain.row);
            let context = Context {
                run: &run,
                command: &command,
            };
            Ok(Json(json!({
                "page": ChainPage::new(chain, context),
                "near": store.place(&filter, None, sort, &id)?,
                "labels": labels::of(store, &id)?,
                "gates": store.gates_of(&id)?,
                "judgements": store.judgements(&id)?,
            })))
        })
        .await
}

/// The model calls of a step: what was asked and what came back.
async fn calls(State(app): Shared, names: Names<(String, String)>) -> Answer<Value> {
    let UrlPath((id, step)) = names?;
    let unknown = |id: &str| {
        let message = format!("chain {id} has no step {step}");
        ApiError::new(StatusCode::NOT_FOUND, message)
    };
    let ordinal: u32 = step.parse().map_err(|_| unknown(&id))?;
    let missing = unknown(&id);
    app.pool
        .read(move |store| {
            let chain = store.chain(&ChainId(id))?;
            let mut steps = chain.steps.into_iter();
            let step = steps.find(|s| s.ordinal == ordinal).ok_or(missing)?;
            Ok(Json(json!({ "calls": step.calls })))
        })
        .await
}

/// The constitution of a run, and what its principles did there.
async fn run(State(app): Shared, id: Names<String>) -> Answer<Value> {
    let UrlPath(id) = id?;
    let shared = Arc::clone(&app);
    app.pool
        .read(move |store| {
            let run = store.run(&store.resolve_run(&id)?)?;
            let figures = shared.figures.of(store, &run.row.run_id)?;
            Ok(Json(json!({
                "run": run.row,
                "constitution": run.constitution,
                "figures": figures,
            })))
        })
        .await
}
