//! Errors as the pages get them: JSON with a message, and for a filter the column.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::store::{FilterError, StoreError};

/// Why a request was not answered.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    /// Of a filter: where, counted in characters from 1.
    column: Option<usize>,
}

impl ApiError {
    /// An error with the given status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            column: None,
        }
    }

    /// Something that the page asked for wrongly.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A label in a viewer that takes none.
    pub fn read_only() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "this viewer is read-only; start it without --read-only to label",
        )
    }

    /// The same as an answer, for pages that expect it: browsers note every request that fails.
    pub fn answered(self) -> Self {
        Self {
            status: StatusCode::OK,
            ..self
        }
    }

    /// As text, for whoever opened a page.
    pub fn into_text(self) -> Response {
        (self.status, format!("amend: {}\n", self.message)).into_response()
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: error.message,
            column: Some(error.column),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Filter(filter) => return filter.clone().into(),
            StoreError::Unknown { .. } => StatusCode::NOT_FOUND,
            StoreError::Ambiguous { .. } => StatusCode::BAD_REQUEST,
            StoreError::Label(_) => StatusCode::CONFLICT,
            StoreError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = json!({ "message": self.message, "column": self.column });
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}
