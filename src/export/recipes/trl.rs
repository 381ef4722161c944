//! A script for TRL.

use super::{LEARNING_RATE, PREFERENCE_RATE, Recipe};
use crate::export::columns;
use crate::export::table::Kind;

/// The script's file name.
pub(super) const FILE: &str = "train.py";

/// `train.py`, made for one kind of trainer.
pub(super) fn files(recipe: &Recipe<'_>, kind: &str) -> Vec<(String, String)> {
    let splits: Vec<&str> = recipe
        .train()
        .into_iter()
        .chain(recipe.evaluation())
        .map(|split| split.name.as_str())
        .collect();
    let columns = recipe.format.layout().columns();
    let lists: Vec<&str> = match recipe.kind {
        Kind::Csv => columns
            .iter()
            .filter(|column| {
                matches!(
                    column.kind,
                    columns::Kind::List(_) | columns::Kind::Struct(_)
                )
            })
            .map(|column| column.name)
            .collect(),
        Kind::Jsonl | Kind::Parquet => Vec::new(),
    };
    let rate = match kind {
        "sft" => LEARNING_RATE,
        _ => PREFERENCE_RATE,
    };
    // KTO compares rows of a batch with each other.
    let batch = match kind {
        "kto" => recipe.batch().max(2),
        _ => recipe.batch(),
    };
    let text = include_str!("files/train.py")
        .replace("@KIND@", kind)
        .replace("@SPLITS@", &list(&splits))
        .replace("@LISTS@", &list(&lists))
        .replace("@LR@", rate)
        .replace("@BATCH@", &batch.to_string());
    vec![(FILE.to_owned(), text)]
}

/// A list as both Python and JSON write it.
fn list(names: &[&str]) -> String {
    serde_json::json!(names).to_string()
}
