//! What people say about chains: the only thing that the viewer writes.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Answer, App, Names, Params, Shared};
use super::chain::difference;
use super::error::ApiError;
use super::pool::blocking;
use crate::chain::ChainId;
use crate::store::{BulkAction, Filter, LabelAction, Labels, Store, StoreError};

/// Something that a person says.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Accept,
    Reject,
    Edit,
    Note,
    Agree,
    Disagree,
    Undo,
}

#[derive(Debug, Deserialize)]
pub struct LabelBody {
    action: Action,
    /// Of an edit or a note.
    text: Option<String>,
    /// Of an agreement: the ordinal of the step.
    step: Option<u32>,
}

impl LabelBody {
    /// What is to be kept; `None` for an undo.
    fn action(self) -> Result<Option<LabelAction>, ApiError> {
        let missing = |what: &str| ApiError::bad(format!("`{what}` is missing"));
        let text = self.text.ok_or_else(|| missing("text"));
        let step = self.step.ok_or_else(|| missing("step"));
        Ok(Some(match self.action {
            Action::Accept => LabelAction::Accept,
            Action::Reject => LabelAction::Reject,
            Action::Edit => LabelAction::Edit(text?),
            Action::Note => LabelAction::Note(text?),
            Action::Agree => LabelAction::Agree(step?),
            Action::Disagree => LabelAction::Disagree(step?),
            Action::Undo => return Ok(None),
        }))
    }
}

/// What holds for a chain, with its history.
pub fn of(store: &Store, id: &ChainId) -> Result<Value, StoreError> {
    let current = store.current_label(id)?;
    let chosen_diff = match &current.chosen {
        Some(chosen) => store
            .chain(id)?
            .row
            .last
            .map(|last| difference(&last, chosen)),
        None => None,
    };
    Ok(json!({
        "label": current.label,
        "chosen": current.chosen,
        "chosen_diff": chosen_diff,
        "note": current.note,
        "agreements": current.agreements,
        "history": store.history(id)?,
    }))
}

/// Labels one chain.
pub async fn label(
    State(app): Shared,
    id: Names<String>,
    body: Result<Json<LabelBody>, JsonRejection>,
) -> Answer<Value> {
    let (UrlPath(id), Json(body)) = (id?, body?);
    let action = body.action()?;
    write(app, move |labels, who| {
        let id = ChainId(id);
        let entry = match &action {
            Some(action) => Some(labels.label(&id, who, action)?),
            None => labels.undo(&id, who)?,
        };
        Ok(json!({ "entry": entry }))
    })
    .await
}

#[derive(Debug, Deserialize)]
pub struct AllParams {
    #[serde(default)]
    q: String,
    action: Action,
    text: Option<String>,
    expected: Option<u64>,
}

impl AllParams {
    fn action(&self) -> Result<BulkAction, ApiError> {
        match self.action {
            Action::Accept => Ok(BulkAction::Accept),
            Action::Reject => Ok(BulkAction::Reject),
            Action::Undo => Ok(BulkAction::Undo),
            Action::Note => match &self.text {
                Some(text) => Ok(BulkAction::Note(text.clone())),
                None => Err(ApiError::bad("`text` is missing")),
            },
            Action::Edit | Action::Agree | Action::Disagree => Err(ApiError::bad(
                "many chains at once can be accepted, rejected, noted and undone",
            )),
        }
    }
}

/// How many chains an action on all that match would label.
pub async fn count(State(app): Shared, params: Params<AllParams>) -> Answer<Value> {
    let Query(params) = params?;
    let filter = Filter::parse(&params.q)?;
    let action = params.action()?;
    if app.read_only {
        return Err(ApiError::read_only());
    }
    blocking(move || {
        let count = Labels::open(app.pool.path())?.count(&filter, None, &action)?;
        Ok(Json(json!({ "count": count })))
    })
    .await
}

/// Labels all chains that match, where they are as many as the person was told.
pub async fn label_all(
    State(app): Shared,
    body: Result<Json<AllParams>, JsonRejection>,
) -> Answer<Value> {
    let Json(body) = body?;
    let filter = Filter::parse(&body.q)?;
    let action = body.action()?;
    let Some(expected) = body.expected else {
        return Err(ApiError::bad(
            "`expected` is missing: the number of chains that the person was told",
        ));
    };
    write(app, move |labels, who| {
        let count = labels.label_all(&filter, None, who, &action, Some(expected))?;
        Ok(json!({ "count": count }))
    })
    .await
}

async fn write(
    app: Arc<App>,
    write: impl FnOnce(&mut Labels, &str) -> Result<Value, StoreError> + Send + 'static,
) -> Answer<Value> {
    blocking(move || {
        // Opened for each: people label far less often than that takes time.
        let mut labels = Labels::open(app.pool.path())?;
        Ok(Json(write(&mut labels, &app.who)?))
    })
    .await
}
